# shellcheck shell=sh
# From the C server to this one: $1 is the root of the machine, $2 the built source.
debian "$1"

# What the C server's `make install` left, and the administrator's edit.
old="$1$(dirname "$(dirname "$SERVER")")"
mkdir -p "$old/bin" "$old/etc"
printf '#!/bin/sh\necho the C server\n' >"$old/bin/flash-policy-serv"
chmod 755 "$old/bin/flash-policy-serv"
sed 's/to-ports="\*"/to-ports="5222"/' "$2/policy.xml" >"$old/etc/crossdomain.xml"
cp "$old/etc/crossdomain.xml" tmp/edited

make -C "$2" install DESTDIR="$1"
boot

# The start command of old, the edited policy.
nohup /usr/local/flash-policy-serv/bin/flash-policy-serv &
eventually served
cmp "$POLICY" /tmp/edited
ask | cmp - /tmp/edited
grep 5222 "$POLICY"
kill $!
wait $!
echo passed
