# shellcheck shell=sh
# Both systemd services, under systemd as process 1: $1 is its root, $2 the built source.
debian "$1"
make -C "$2" install-systemd DESTDIR="$1" >&2
mount -t sysfs none sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs none run
mkdir -p etc/systemd/system
echo 00000000000000000000000000000001 >etc/machine-id
printf '[Unit]\nRequires=systemd-journald.service\nAllowIsolate=yes\n' >etc/systemd/system/default.target
boot

answers_all() {
	count=0
	while [ $count -lt 100 ]; do
		ask | cmp -s - "$POLICY" || echo lost
		count=$((count + 1))
	done
}

# options SERVICE OPTIONS: as `systemctl edit` does it.
options() {
	mkdir "/etc/systemd/system/$1.service.d"
	printf '[Service]\nEnvironment="OPTIONS=%s"\n' "$2" >"/etc/systemd/system/$1.service.d/options.conf"
	systemctl daemon-reload
}

# property NAME SERVICE
property() {
	systemctl show -p "$1" --value "$2"
}

# exposed SERVICE TENTHS: systemd rates the service, as it is loaded, no higher than this.
exposed() {
	systemd-analyze security --no-pager --threshold="$2" "$1" | tail -n 1
	systemd-analyze security --no-pager --threshold="$2" "$1" >/dev/null
}

drive() {
	own=flash-policy-serv
	stdin=flash-policy-serv-stdin
	eventually systemctl is-system-running
	refused systemctl is-enabled $own

	# What enables all that a package has enables one of the two ways.
	systemctl enable $own
	for unit in $stdin.socket $stdin.service; do
		[ "$(systemctl is-enabled "$unit")" = static ]
	done
	systemctl disable $own

	# The server binds for itself, as a user with one capability.
	systemctl enable --now $own
	eventually served
	[ "$(grep -c '^Cap[A-Za-z]*:.0*400$' "/proc/$(property MainPID $own)/status")" = 5 ]
	refused grep '^Uid:.0' "/proc/$(property MainPID $own)/status"
	probe 127.0.0.1
	exposed $own 15
	sed 's/to-ports="\*"/to-ports="5222"/' "$POLICY" >/tmp/good
	cp /tmp/good "$POLICY"
	systemctl reload $own
	eventually served
	# A reload with a bad policy file fails, and the last good one stays in service.
	echo '<policy>' >"$POLICY"
	refused systemctl reload $own
	cp /tmp/good "$POLICY"
	served

	# Ready is when it listens, and not before: a reload right after the start is obeyed.
	for restart in 1 2 3 4 5 6 7 8 9 10; do
		systemctl reset-failed $own
		systemctl restart $own
		systemctl reload $own
		served
	done

	# systemd takes death by SIGHUP for success, unless it is told.
	for service in $own $stdin; do
		[ "$(property RestartForceExitStatus "$service")" = HUP ]
	done

	# With a bad policy file the server does not start; when it is mended, systemd starts it.
	systemctl stop $own
	echo '<policy>' >"$POLICY"
	refused systemctl start $own
	[ "$(property ExecMainStatus $own)" != 2 ]
	cp /tmp/good "$POLICY"
	eventually served

	# The other service takes over; its listener lives on through restarts.
	systemctl disable --now $own
	systemctl add-wants sockets.target $stdin.socket
	systemctl start $stdin.socket
	refused systemctl is-active $own
	served
	systemctl is-active $stdin
	exposed $stdin 5
	ss -ltn | grep ' 4096 .*:843 '
	[ "$(property DeferAcceptUSec $stdin.socket)" = 1s ]
	[ "$(grep -c '^Cap[A-Za-z]*:.0*$' "/proc/$(property MainPID $stdin)/status")" = 5 ]
	before=$(date +%s)
	systemctl restart $stdin
	[ $(($(date +%s) - before)) -le 2 ]
	answers_all >/tmp/lost.1 &
	answers_all >/tmp/lost.2 &
	for restart in 1 2 3; do
		systemctl restart $stdin
		echo "restart $restart"
	done
	wait
	cat /tmp/lost.1 /tmp/lost.2
	[ ! -s /tmp/lost.1 ]
	[ ! -s /tmp/lost.2 ]
	sed 's/5222/8000/' /tmp/good >"$POLICY"
	systemctl reload $stdin
	eventually served

	# A second server, with a policy and options of its own, is a copy of the first service.
	cp /usr/local/lib/systemd/system/$own.service /etc/systemd/system/second.service
	options second '--listen 844'
	systemctl start second
	eventually probe 127.0.0.1:844
	systemctl is-active $stdin
	served
	systemctl stop second
	journalctl -o cat -u $stdin | grep 'flash-policy-serv: listening on'

	# At the next boot it is there, until it is disabled.
	ls /etc/systemd/system/sockets.target.wants/$stdin.socket
	systemctl disable --now $stdin.socket
	refused ls /etc/systemd/system/sockets.target.wants/$stdin.socket
	systemctl stop $stdin

	# Options are one setting.
	options $own '--listen 844 --verbose'
	systemctl start $own
	eventually probe 127.0.0.1:844
	journalctl -o cat -u $own | grep 'answered$'
}

(
	trap 'journalctl -n 40 >&2; cat /root/driven; systemctl --force --force poweroff' EXIT
	drive >/root/driven 2>&1
	echo passed >>/root/driven
) &
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --log-target=journal --show-status=no
