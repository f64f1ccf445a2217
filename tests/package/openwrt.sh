# shellcheck shell=sh
# What procd would start: $1 is the init script.
config_load() { [ "$1" = flash-policy-serv ]; }
# config_get VARIABLE SECTION OPTION
config_get() { eval "$1='--listen [::]:844'"; }
procd_open_instance() { :; }
procd_close_instance() { :; }
procd_set_param() { echo "$@"; }
procd_send_signal() { echo "$@"; }
cd "$(mktemp -d)" || exit
: >::844
# shellcheck source=/dev/null
. "$1"
start_service | grep '^command /usr/sbin/flash-policy-serv --user [a-z-]* --listen \[::\]:844$'
[ "$(reload_service)" = "flash-policy-serv * HUP" ]
rm ::844
rmdir "$PWD"
