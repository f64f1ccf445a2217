# shellcheck shell=sh disable=SC1091,SC2034,SC2154
# As abuild does it: $1 is the source, $2 the folder of the packages' contents, $3 the version.
startdir=$1/src/package/alpine
pkgdir=$2/server
subpkgdir=$2/helper
cd "$startdir" || exit
. ./APKBUILD
[ "$pkgver" = "$3" ]
[ -f "$install" ]
for step in build package nat; do
	cd "$builddir" || exit
	$step
done
