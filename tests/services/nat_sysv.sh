# shellcheck shell=sh
# The NAT helper at boot under Debian's SysV init, which starts only what update-rc.d has put in
# order: $1 is the root, $2 the source.
debian "$1"
make -C "$2" install-nat-sysv DESTDIR="$1"
cp -a /etc/alternatives etc
chmod 755 . usr/local
boot
ip link add eth0 type veth peer name peer0
mkdir /usr/local/sbin
# shellcheck disable=SC2016
printf '#!/bin/sh\necho "$@" >>/tmp/told\n' >/usr/local/sbin/update-rc.d
chmod 755 /usr/local/sbin/update-rc.d
PATH=/usr/local/sbin:$PATH
helper=/usr/local/flash-policy-serv/bin/flash-policy-nat
$helper persist --wan eth0
ls /etc/rc2.d/S99flash-policy-nat
$helper unpersist
refused ls /etc/rc2.d/S99flash-policy-nat
printf '%s\n' 'flash-policy-nat defaults' '-f flash-policy-nat remove' | cmp - /tmp/told
echo passed
