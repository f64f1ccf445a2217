# shellcheck shell=sh
# The life of the SysV service, on a root that was prepared: $1 is the root, $2 the built source.
make -C "$2" install-sysv DESTDIR="$1"
boot
service=/etc/init.d/flash-policy-serv
pidfile=/run/flash-policy-serv.pid
log=/var/log/messages

# status STATUS: the status command says so.
status() {
	is=0
	$service status || is=$?
	[ "$is" = "$1" ]
}

# server: the process that serves
server() {
	cut -d ' ' -f 1 $pidfile
}

status 3
refused $service start
busybox syslogd -O /var/log/messages
eventually [ -S /dev/log ]
# Whoever calls it, nobody else can write what it leaves.
umask 0
$service start
[ "$(find /run -name 'flash-policy-serv*' -perm /022)" = "" ]
umask 022
status 0
served
grep '^Uid:.65534.65534' "/proc/$(server)/status"
eventually grep 'flash-policy-serv\[[0-9]*\]: listening on' $log
pid=$(server)

# Again, which changes nothing.
$service start
[ "$pid" = "$(server)" ]

reloads $service

# Restart after the program was replaced.
cp "$SERVER" "$SERVER.new"
mv "$SERVER.new" "$SERVER"
$service restart
[ "$pid" != "$(server)" ]
served

$service stop
[ ! -e $pidfile ]
refused served
status 3
$service stop
refused $service reload

# It says what keeps it from starting.
busybox nc -l -p 843 &
eventually grep -q ':034B .* 0A ' /proc/net/tcp /proc/net/tcp6
refused $service start 2>/tmp/errors
grep 'did not start' /tmp/errors
eventually grep 'cannot listen on .*843' $log
status 3
kill $!

# After a crash.
$service start
kill -9 "$(server)"
eventually status 1
$service start
served
$service stop

# A user of its own where there is one, and an address that a shell would take for a pattern.
echo 'flash-policy-serv:x:4321:4321::/:/bin/false' >>/etc/passwd
echo 'OPTIONS="--listen [::]:844"' >/etc/default/flash-policy-serv
cd /
: >::844
$service start
eventually probe 127.0.0.1:844
grep '^Uid:.4321.4321' "/proc/$(server)/status"

# The process of the file is gone, and another program of that name has its number.
cp $pidfile /tmp/stale
$service stop
cp "$SERVER" /tmp/flash-policy-serv
start-stop-daemon -S -b -m -p /tmp/other -x /tmp/flash-policy-serv -- --listen 845
eventually probe 127.0.0.1:845
other=$(cat /tmp/other)
echo "$other $(cut -d ' ' -f 2 /tmp/stale)" >$pidfile
status 1
echo "$other" >$pidfile
status 1
$service start
eventually probe 127.0.0.1:844
$service stop
[ -e "/proc/$other" ]
kill "$other"

status=0
$service nonsense || status=$?
[ $status = 2 ]
echo passed
