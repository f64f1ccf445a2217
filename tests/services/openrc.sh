# shellcheck shell=sh
# The life of the OpenRC service, on a Debian root: $1 is the root, $2 the built source.
debian "$1"
make -C "$2" install-openrc DESTDIR="$1"
mkdir etc/runlevels etc/runlevels/default etc/conf.d 2>/dev/null || :
cp /etc/rc.conf etc
boot
openrc_in default
service=/etc/init.d/flash-policy-serv
settings=/etc/conf.d/flash-policy-serv
log=/var/log/flash-policy-serv.log

# Debian's OpenRC cannot pass on a capability: as the settings say.
if ! grep -q libcap "$(command -v supervise-daemon)"; then
	sed -i 's/^capabilities/# &/' $settings
	echo 843 >/proc/sys/net/ipv4/ip_unprivileged_port_start
fi

# server: the process that serves
server() {
	pidof flash-policy-serv
}

rc-update add flash-policy-serv default
rc-service flash-policy-serv start
eventually served
$service status
grep '^Uid:.65534.65534' "/proc/$(server)/status"
grep 'listening on' $log
pid=$(server)
reloads $service

$service restart
eventually served
[ "$pid" != "$(server)" ]

# A server that was killed comes back.
pid=$(server)
kill -9 "$pid"
eventually served
[ "$pid" != "$(server)" ]

sed -i 's/^command_args=.*/command_args="--listen 844"/' $settings
$service restart
eventually probe 127.0.0.1:844
$service stop
refused server
refused $service status

# A user of its own where there is one, and an address that a shell would take for a pattern.
echo 'flash-policy-serv:*:4321:4321::/:/bin/false' >>/etc/passwd
sed -i 's/^command_args=.*/command_args="--listen [::]:844"/' $settings
cd /
: >::844
$service start
eventually probe 127.0.0.1:844
grep '^Uid:.4321.4321' "/proc/$(server)/status"
$service stop

echo '<policy>' >"$POLICY"
refused $service start
echo passed
