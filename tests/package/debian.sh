# shellcheck shell=sh
# The life of the Debian package in a bare root: $1 is the root, $2 the package, $3 the next version
# of it, which ships another policy.
POLICY=/etc/flash-policy-serv/crossdomain.xml
cp "$2" "$1/first.deb"
cp "$3" "$1/next.deb"
mount --bind "$1" "$1"
cd "$1" || exit
boot
export DEBIAN_FRONTEND=noninteractive

# everything: all that is in the root but dpkg's own books.
everything() {
	find / -xdev \( -path /proc -o -path /tmp -o -path /var/lib/dpkg -o -path /var/log \) -prune -o -print | sort
}

everything >/tmp/before
dpkg --install /first.deb
flash-policy-serv --version
flash-policy-serv --check
dpkg --verify flash-policy-serv

# Started with no service manager there.
flash-policy-serv --user nobody &
server=$!
tries=100
until flash-policy-serv --probe 127.0.0.1; [ $? -le 1 ]; do
	tries=$((tries - 1))
	[ $tries -gt 0 ]
	sleep 0.1
done
kill $server
wait $server

# An edited policy stays through an upgrade, though the shipped one has changed.
sed -i 's/to-ports="\*"/to-ports="5222"/' $POLICY
cp $POLICY /tmp/edited
dpkg --force-confdef --install /next.deb
cmp $POLICY /tmp/edited
grep 8000 $POLICY.dpkg-dist
dpkg --remove flash-policy-serv
cmp $POLICY /tmp/edited
dpkg --purge flash-policy-serv
everything | diff /tmp/before -
echo passed
