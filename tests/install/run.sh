# shellcheck shell=sh
# `make run`, and the command that it names for another terminal. Where both write, the lines are
# what the user sees.
ip link set lo up
mkdir -p target
make run >target/said 2>&1 &
make=$!
# The server, which is all that make has started.
trap 'kill "$(cat "/proc/$make/task/$make/children")" 2>/dev/null || :' EXIT
tries=600
until grep -q 'warning: ' target/said && grep -q 'listening on' target/said; do
	tries=$((tries - 1))
	[ "$tries" -gt 0 ] || { cat target/said >&2; exit 1; }
	sleep 0.1
done
ask=$(sed -n 's/^ask it in another terminal: //p' target/said)
sh -c "$ask" >>target/said
cat target/said
