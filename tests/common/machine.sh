# Functions for scripts that run as process 1 of namespaces of their own: they make a folder the
# root of a machine, and ask the server in it.

set -eu
SERVER=/usr/local/flash-policy-serv/bin/flash-policy-serv
POLICY=/usr/local/flash-policy-serv/etc/crossdomain.xml

# devices: the current folder's own /dev.
devices() {
	mount -t tmpfs none dev
	for node in null zero full random urandom tty; do cp -a "/dev/$node" dev; done
	ln -s /proc/self/fd dev/fd
	ln -s pts/ptmx dev/ptmx
	mkdir dev/pts dev/shm
}

# debian ROOT: a root with the programs of this machine, and folders of its own for all else.
debian() {
	mount -t tmpfs none "$1"
	cd "$1"
	mkdir usr proc sys dev etc run var var/lib var/log var/tmp home root tmp
	for folder in bin sbin lib lib32 lib64; do
		if [ -e "/$folder" ]; then ln -s "usr/$folder" "$folder"; fi
	done
	ln -s ../run var/run
	cp -a /etc/passwd /etc/group /etc/ld.so.cache /etc/nsswitch.conf /etc/pam.d etc
	mount --bind /usr usr
	mount -t tmpfs none usr/local
	devices
}

# busybox_root ROOT PROGRAM...: a root with busybox, these programs and the libraries of all.
busybox_root() {
	mount -t tmpfs none "$1"
	cd "$1"
	shift
	mkdir -p bin sbin usr/bin usr/sbin proc dev etc run var/log tmp
	ln -s ../run var/run
	cp "$(command -v busybox)" bin/busybox
	for program in bin/busybox "$@"; do
		for library in $(ldd "$program" | grep -o '/[^ ]*'); do
			mkdir -p ".${library%/*}"
			cp -L "$library" ".$library"
		done
	done
	chroot . /bin/busybox --install -s
	printf 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >etc/passwd
	devices
}

# boot: the current folder becomes the root, with nothing of the old one left.
boot() {
	ip link set lo up
	mkdir -p old
	mount -t proc proc proc
	pivot_root . old
	cd /
	umount -l old
}

# openrc_in RUNLEVEL: what OpenRC has in /run after its boot.
openrc_in() {
	for state in daemons exclusive failed hotplugged inactive options scheduled started starting \
		stopping tmp wasinactive; do
		mkdir -p "/run/openrc/$state"
	done
	echo "$1" >/run/openrc/softlevel
}

ask() {
	printf '<policy-file-request/>\0' | busybox nc -w 10 127.0.0.1 843 | tr -d '\0'
}

# served: the policy file as it is now is what clients get.
served() {
	ask | cmp -s - "$POLICY"
}

# probe ADDR: a player would be served, if with warnings.
probe() {
	status=0
	"$SERVER" --probe "$1" || status=$?
	[ $status -le 1 ]
}

# reloads SERVICE: the same process serves a new policy file, and a bad one is refused and changes nothing.
# The script has `server`, which prints the process.
reloads() {
	process=$(server)
	sed 's/to-ports="\*"/to-ports="5222"/' "$POLICY" >/tmp/good
	cp /tmp/good "$POLICY"
	"$1" reload
	eventually served
	echo '<policy>' >"$POLICY"
	refused "$1" reload
	refused "$1" restart
	ask | cmp - /tmp/good
	[ "$process" = "$(server)" ]
	cp /tmp/good "$POLICY"
}

refused() {
	if "$@"; then
		echo "should have failed: $*" >&2
		exit 1
	fi
}

eventually() {
	tries=100
	until "$@"; do
		tries=$((tries - 1))
		if [ "$tries" = 0 ]; then
			echo "waited in vain: $*" >&2
			exit 1
		fi
		sleep 0.1
	done
}
