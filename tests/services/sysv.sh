# shellcheck shell=sh
# The life of the SysV service, on a root that was prepared: $1 is the root, $2 the built source.
make -C "$2" install-sysv DESTDIR="$1"
boot
service=/etc/init.d/flash-policy-serv
pidfile=/run/flash-policy-serv.pid
log=/var/log/flash-policy-serv.log

# status STATUS: the status command says so.
status() {
	is=0
	$service status || is=$?
	[ "$is" = "$1" ]
}

status 3
$service start
status 0
served
pid=$(cat $pidfile)
grep '^Uid:.65534.65534' "/proc/$pid/status"
grep 'listening on' $log

# Again, which changes nothing.
$service start
[ "$pid" = "$(cat $pidfile)" ]

sed 's/to-ports="\*"/to-ports="5222"/' "$POLICY" >/tmp/good
cp /tmp/good "$POLICY"
$service reload
eventually served

# A bad policy file is refused, and the server stays in service.
echo '<policy>' >"$POLICY"
refused $service reload
refused $service restart
ask | cmp - /tmp/good
[ "$pid" = "$(cat $pidfile)" ]
cp /tmp/good "$POLICY"

# Restart after the program was replaced.
cp "$SERVER" "$SERVER.new"
mv "$SERVER.new" "$SERVER"
$service restart
[ "$pid" != "$(cat $pidfile)" ]
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
grep 'did not start: .*843' /tmp/errors
status 3
kill $!

# After a crash.
$service start
kill -9 "$(cat $pidfile)"
eventually status 1
$service start
served
$service stop

status=0
$service nonsense || status=$?
[ $status = 2 ]
echo passed
