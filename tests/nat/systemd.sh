# shellcheck shell=sh
# The NAT service under systemd as process 1: $1 is its root, $2 the source.
debian "$1"
make -C "$2" install-nat-systemd DESTDIR="$1" >&2
umount dev
mount -t tmpfs none dev
for node in null zero full random urandom tty; do cp -a "/dev/$node" dev; done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir dev/pts dev/shm
mount -t sysfs none sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs none run
mkdir -p etc/systemd/system
cp -a /etc/alternatives etc
chmod 755 . usr/local
echo 00000000000000000000000000000001 >etc/machine-id
printf '[Unit]\nRequires=systemd-journald.service\nAllowIsolate=yes\n' >etc/systemd/system/default.target
printf '#!/usr/sbin/nft -f\nflush ruleset\ntable inet mine {\n}\n' >etc/nftables.conf
boot

forwards() {
	[ "$(cat /proc/sys/net/ipv4/ip_forward)" = "$1" ]
}

outer() {
	ip link add eth0 type veth peer name peer0
	ip address add 172.16.1.186/24 dev eth0
	ip link set eth0 up
	ip route add default dev eth0
}

drive() {
	helper=/usr/local/flash-policy-serv/bin/flash-policy-nat
	own=flash-policy-nat
	eventually systemctl is-system-running
	refused systemctl is-enabled $own
	systemctl start nftables

	# No interface leads outside: nothing is forwarded, and it is tried again.
	outer
	$helper persist --wan=auto
	ip link del eth0
	[ "$(systemctl is-enabled $own)" = enabled ]
	mkdir /etc/systemd/system/$own.service.d
	printf '[Service]\nRestartSec=1\n' >/etc/systemd/system/$own.service.d/again.conf
	systemctl daemon-reload
	refused systemctl start $own
	forwards 0
	outer
	eventually systemctl is-active $own
	eventually $helper status
	forwards 1

	# nftables takes all rules away at its restart and its reload.
	systemctl restart nftables
	eventually $helper status
	systemctl reload nftables
	eventually $helper status
	nft list table inet mine

	# Stopped, it is down; at shutdown it is not.
	systemctl stop $own
	refused nft list table ip $own
	systemctl start $own
	nft list table ip $own

	# Nor is the router open when nftables has flushed the filter: what stops after it looks.
	printf '%s\n' '[Unit]' DefaultDependencies=no Conflicts=shutdown.target \
		'Before=nftables.service shutdown.target' '[Service]' Type=oneshot RemainAfterExit=yes \
		"ExecStop=/bin/sh -c 'cp /proc/sys/net/ipv4/ip_forward /tmp/last; until [ -e /tmp/seen ]; do sleep 0.1; done'" \
		>/etc/systemd/system/look.service
	systemctl daemon-reload
	systemctl start look
	forwards 1
	systemctl --no-block poweroff
	eventually [ -s /tmp/last ]
	grep 0 /tmp/last
}

(
	trap 'journalctl -n 40 >&2; cat /tmp/driven; touch /tmp/seen; systemctl --force --force poweroff' EXIT
	drive >/tmp/driven 2>&1
	echo passed >>/tmp/driven
) &
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --log-target=journal --show-status=no
