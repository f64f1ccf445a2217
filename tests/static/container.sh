# shellcheck shell=sh disable=SC2086
# $1 is a root, $2 the user in it, $3 the program and $4 the health check, as in the container file.
ip link set lo up
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
POLICY=$1$POLICY
[ "$(find "$1" -type f | wc -l)" = 2 ]

# start: $server is the one process in a pid and mount namespace of its own.
start() {
	unshare --mount --pid --fork --kill-child chroot --userspec="$root_user" "$root" $entry &
	eventually served
	server=$(pidof -s flash-policy-serv)
	grep 'NSpid:.*	1$' "/proc/$server/status"
	grep '^Uid:.65534.65534' "/proc/$server/status"
}

terminate() {
	kill -TERM "$server"
}

# From inside, where signals to process 1 are dropped unless it asked for them. When it ends, the
# kernel kills all else in its namespace, which may be the shell that sent the signal.
terminate_inside() {
	nsenter -t "$server" -p sh -c 'kill -TERM 1' || [ $? = 137 ]
}

# ends COMMAND...: makes it end, well, and within a second, if not the first time, for this machine
# may be busy, then the third.
ends() {
	for _ in 1 2 3; do
		before=$(date +%s%N)
		"$@"
		wait $!
		[ $(($(date +%s%N) - before)) -ge 1000000000 ] || return 0
		start
	done
	echo "took more than a second to end" >&2
	return 1
}

root=$1 root_user=$2 entry=$3 health=$4
mount -t proc proc /proc
start
chroot --userspec="$root_user" "$root" $health
ends terminate
refused chroot --userspec="$root_user" "$root" $health
start
ends terminate_inside
echo passed
