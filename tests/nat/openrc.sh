# shellcheck shell=sh
# The NAT service under OpenRC itself, with no other service there: $1 is the root, $2 the source.
debian "$1"
make -C "$2" install-nat-openrc DESTDIR="$1"
mkdir -p etc/runlevels/boot etc/runlevels/default etc/runlevels/shutdown etc/runlevels/sysinit
cp /etc/rc.conf etc
cp -a /etc/alternatives etc
chmod 755 . usr/local etc
boot
openrc_in boot
helper=/usr/local/flash-policy-serv/bin/flash-policy-nat
ip link add eth0 type veth peer name peer0
$helper persist --wan=eth0
ip link del eth0
ip link add ppp0 type veth peer name peer0

# The interface is not there yet when the runlevel starts it; it comes by a new name.
openrc default
ip link set ppp0 name eth0
ip address add 172.16.1.186/24 dev eth0
ip link set eth0 up
$helper status
/etc/init.d/flash-policy-nat stop
refused $helper status
/etc/init.d/flash-policy-nat restart
$helper status

# At shutdown nothing is forwarded any more, and the filter stays.
openrc shutdown
grep -x 0 /proc/sys/net/ipv4/ip_forward
$helper status | grep '^state: not up, rules in '
echo passed
