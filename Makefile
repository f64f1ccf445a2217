# flash-policy-serv: `make help` lists what there is to do. GNU make 4.2 or newer; building needs
# rustc and a linker, testing needs cargo as well.

NAME = flash-policy-serv
HELPER = flash-policy-nat

# The default prefix is a folder of the program's own, as the C server had it; /usr and /usr/local
# are the system's, where daemons stand in sbin.
PREFIX = /usr/local/$(NAME)
prefix = $(PREFIX)
sbindir = $(prefix)/$(if $(filter /usr /usr/local,$(prefix)),sbin,bin)
sysconfdir = $(if $(filter /usr,$(prefix)),,$(prefix))/etc
policydir = $(sysconfdir)$(if $(findstring /$(NAME),$(sysconfdir)),,/$(NAME))
# Where man and systemd look.
mandir = $(patsubst /usr/local/$(NAME),/usr/local,$(prefix))/share/man
unitdir = $(if $(filter /usr,$(prefix)),/usr,/usr/local)/lib/systemd/system
# For links to the commands, since the default prefix is in nobody's PATH.
linkdir = $(if $(filter /usr/local/$(NAME),$(prefix)),/usr/local/bin)
initdir = /etc/init.d
confdir = /etc/conf.d

RUSTC = rustc
CARGO = cargo
INSTALL = install
# For another machine: its name in rustc, and the C compiler that links for it.
TARGET =
LINKER =

BUILT = target/$(NAME)
POLICY = $(policydir)/crossdomain.xml
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
OLDEST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# For the linker; `make SCRIPT=` where that is one that takes none, such as gold or mold.
SCRIPT = src/without-unwinding.ld

# The same as the release profile in Cargo.toml, but for the script. RUSTFLAGS of the environment are
# added.
COMPILE = $(RUSTC) --edition 2021 --crate-name flash_policy_serv -C opt-level=z -C lto \
    -C codegen-units=1 -C panic=abort -C strip=symbols $(RUSTFLAGS) \
    $(if $(SCRIPT),-C link-arg=-Wl$(comma)-T$(comma)$(SCRIPT)) \
    $(if $(TARGET),--target $(TARGET)) $(if $(LINKER),-C linker=$(LINKER))
comma = ,

# What the program is built from beside its source; a build that worked has written it down.
export SETTINGS = $(COMPILE) $(VERSION) $(POLICY)

# Make says what its user needs to know; `make -n` shows the commands.
.SILENT:
MAKEFLAGS += --no-print-directory

all: $(BUILT)

# Other settings build anew, whatever the clock says of the program.
ifneq ($(file <target/settings),$(SETTINGS))
$(BUILT): FORCE
endif

# What was there before goes first, so that nobody installs it for what could not be built.
$(BUILT): $(wildcard src/*.rs src/*.txt src/*.ld)
	mkdir -p target
	rm -f $@ target/settings
	version=$$($(RUSTC) -V) || { echo 'needs rustc $(OLDEST) or newer, and $(RUSTC) does not run;' \
	    'nothing is built' >&2; exit 1; }; \
	minor=$${version#rustc 1.}; \
	test "$${minor%%.*}" -ge $(OLDEST:1.%=%) || { echo 'needs rustc $(OLDEST) or newer, this is' \
	    "$$version; nothing is built" >&2; exit 1; }
	echo 'building $@, about half a minute'
	MAKEFLAGS= FLASH_POLICY_FILE='$(POLICY)' CARGO_PKG_VERSION='$(VERSION)' \
	    $(COMPILE) -o $@ src/main.rs
	printf '%s\n' "$$SETTINGS" >target/settings

# With musl where rustc has it, else with the C library of this machine.
HOST = $(shell $(RUSTC) -vV | sed -n 's/^host: //p')
MUSL = $(subst -gnu,-musl,$(HOST))
MUSL_INSTALLED = $(wildcard $(shell $(RUSTC) --print target-libdir --target $(MUSL)))
static:
	$(MAKE) TARGET=$(or $(TARGET),$(if $(MUSL_INSTALLED),$(MUSL),$(HOST))) \
	    RUSTFLAGS='$(RUSTFLAGS) -C target-feature=+crt-static'

run: $(BUILT)
	echo 'ask it in another terminal: $(BUILT) --probe 8430 --public-port 843'
	$(BUILT) --listen 127.0.0.1:8430 --public-port 843 --policy policy.xml

# Beside rustc, tests need cargo.
cargo:
	$(CARGO) -V >/dev/null || { echo 'needs cargo, and $(CARGO) does not run' >&2; exit 1; }

# TESTS for other arguments of cargo test, such as '--test wire'.
test: cargo
	$(CARGO) test --locked --no-fail-fast $(TESTS)

# All kinds of clients at once; SOAK_SECONDS=N for another time than 120.
test-soak: cargo
	$(CARGO) test --locked --test soak -- --ignored --nocapture

# Each system call on the server's way fails with each plausible error.
test-faults: cargo
	$(CARGO) test --locked --test faults -- --ignored --nocapture

# PEER=IP:PORT for one more server beside.
bench: cargo
	$(CARGO) bench --locked --bench load

# Installing never builds, so that root can do it with what a user built, and enables nothing.
install: install-server install-nat
install-systemd: install-server-systemd install-nat-systemd
install-openrc: install-server-openrc install-nat-openrc
install-sysv: install-server-sysv install-nat-sysv

# into INSTALLED: makes the folder that it goes into.
define into
	$(INSTALL) -d "$$(dirname '$(DESTDIR)$(1)')"
endef

# fill SHIPPED,INSTALLED,MODE: installs a text with the places of this installation in it.
define fill
	echo 'installing $(DESTDIR)$(2)'
	$(call into,$(2))
	rm -f '$(DESTDIR)$(2)'
	sed -e 's|@sbindir@|$(sbindir)|g' -e 's|@policy@|$(POLICY)|g' -e 's|@version@|$(VERSION)|g' \
	    $(1) >'$(DESTDIR)$(2)'
	chmod $(3) '$(DESTDIR)$(2)'
endef

# keep SHIPPED,INSTALLED: installs a file that its administrator may edit; an edited one stays.
define keep
	$(call into,$(2))
	if test ! -e '$(DESTDIR)$(2)' && test ! -L '$(DESTDIR)$(2)'; then \
	    echo 'installing $(DESTDIR)$(2)'; \
	    $(INSTALL) -m 644 $(1) '$(DESTDIR)$(2)'; \
	elif ! cmp -s $(1) '$(DESTDIR)$(2)'; then \
	    echo 'keeping $(DESTDIR)$(2); the shipped one is $(DESTDIR)$(2).default'; \
	    $(INSTALL) -m 644 $(1) '$(DESTDIR)$(2).default'; \
	fi
endef

# link COMMAND: from linkdir, unless somebody else has that name there.
define link
	link='$(DESTDIR)$(linkdir)/$(1)'; test -z '$(linkdir)' || { \
	    $(INSTALL) -d '$(DESTDIR)$(linkdir)'; \
	    test -e "$$link" || test -L "$$link" || ln -s '$(sbindir)/$(1)' "$$link"; \
	    test "$$(readlink "$$link")" = '$(sbindir)/$(1)' || echo "keeping $$link, another's"; }
endef

install-server:
	test -x $(BUILT) || { echo '$(BUILT) is missing: run make first' >&2; exit 1; }
	case "$$(cat target/settings)" in *' $(VERSION) $(POLICY)') ;; *) echo '$(BUILT) was built' \
	    'for another place: run make with the same prefix and sysconfdir first' >&2; exit 1 ;; esac
	echo 'installing $(DESTDIR)$(sbindir)/$(NAME)'
	$(call into,$(sbindir)/$(NAME))
	$(INSTALL) -m 755 $(BUILT) '$(DESTDIR)$(sbindir)'
	$(call link,$(NAME))
	$(call fill,src/$(NAME).8,$(mandir)/man8/$(NAME).8,644)
	$(call keep,policy.xml,$(POLICY))

install-server-systemd: plain-places install-server
	$(call fill,src/service/$(NAME).service,$(unitdir)/$(NAME).service,644)
	$(call fill,src/service/$(NAME)-stdin.service,$(unitdir)/$(NAME)-stdin.service,644)
	$(call fill,src/service/$(NAME)-stdin.socket,$(unitdir)/$(NAME)-stdin.socket,644)

install-server-openrc: plain-places install-server
	$(call fill,src/service/$(NAME).openrc,$(initdir)/$(NAME),755)
	$(call keep,src/service/$(NAME).confd,$(confdir)/$(NAME))

install-server-sysv: plain-places install-server
	$(call fill,src/service/$(NAME).sysv,$(initdir)/$(NAME),755)
	$(call keep,src/service/$(NAME).default,/etc/default/$(NAME))

install-nat:
	$(call fill,src/$(HELPER),$(sbindir)/$(HELPER),755)
	$(call link,$(HELPER))
	$(call fill,src/$(HELPER).8,$(mandir)/man8/$(HELPER).8,644)

install-nat-systemd: plain-places install-nat
	$(call fill,src/service/$(HELPER).service,$(unitdir)/$(HELPER).service,644)

install-nat-openrc: plain-places install-nat
	$(call fill,src/service/$(HELPER).openrc,$(initdir)/$(HELPER),755)

install-nat-sysv: plain-places install-nat
	$(call fill,src/service/$(HELPER).sysv,$(initdir)/$(HELPER),755)

# In units and in shell scripts some characters would need quotes, and not the same ones.
plain-places:
	case '$(sbindir)' in *[!A-Za-z0-9/._+@:,=~-]*) echo 'a service cannot start from' \
	    '$(sbindir): use letters, digits and / . _ + @ : , = ~ - in sbindir' >&2; exit 1 ;; esac

# remove SHIPPED,INSTALLED: the opposite of keep.
define remove
	rm -f '$(DESTDIR)$(2).default'; \
	if test ! -L '$(DESTDIR)$(2)' && cmp -s $(1) '$(DESTDIR)$(2)'; then rm '$(DESTDIR)$(2)'; \
	elif test -e '$(DESTDIR)$(2)' || test -L '$(DESTDIR)$(2)'; then echo 'keeping $(DESTDIR)$(2)'; fi
endef

# remove_service COMMAND,INSTALLED,COMMANDS: unless it is the service of an installation in another
# place; then the commands, for what goes with it.
define remove_service
	if grep -qsF '$(sbindir)/$(1)' '$(DESTDIR)$(2)'; then rm '$(DESTDIR)$(2)'; $(3) fi
endef

# The settings of the OpenRC and the SysV service.
define remove_settings
	$(call remove,src/service/$(NAME).confd,$(confdir)/$(NAME)); \
	$(call remove,src/service/$(NAME).default,/etc/default/$(NAME));
endef

# unlink COMMAND: the opposite of link.
define unlink
	test "$$(readlink '$(DESTDIR)$(linkdir)/$(1)')" != '$(sbindir)/$(1)' || \
	    rm '$(DESTDIR)$(linkdir)/$(1)'
endef

# An edited policy stays, edited settings too.
uninstall:
	if grep -qsF '$(sbindir)/$(HELPER)' '$(DESTDIR)$(unitdir)/$(HELPER).service' \
	    '$(DESTDIR)$(initdir)/$(HELPER)'; then sh src/$(HELPER) unpersist; fi
	$(call remove_service,$(HELPER),$(unitdir)/$(HELPER).service)
	$(call remove_service,$(HELPER),$(initdir)/$(HELPER))
	rm -f '$(DESTDIR)$(sbindir)/$(NAME)' '$(DESTDIR)$(sbindir)/$(HELPER)'
	rm -f '$(DESTDIR)$(mandir)/man8/$(NAME).8' '$(DESTDIR)$(mandir)/man8/$(HELPER).8'
	$(call unlink,$(NAME))
	$(call unlink,$(HELPER))
	$(call remove,policy.xml,$(POLICY))
	$(call remove_service,$(NAME),$(unitdir)/$(NAME).service)
	$(call remove_service,$(NAME),$(unitdir)/$(NAME)-stdin.service)
	$(call remove_service,$(NAME),$(unitdir)/$(NAME)-stdin.socket)
	$(call remove_service,$(NAME),$(initdir)/$(NAME),$(remove_settings))
	case '$(policydir)' in */$(NAME)) rmdir '$(DESTDIR)$(policydir)' 2>/dev/null || : ;; esac
	case '$(prefix)' in */$(NAME)) rmdir '$(DESTDIR)$(sbindir)' '$(DESTDIR)$(sysconfdir)' \
	    '$(DESTDIR)$(prefix)/share/man/man8' '$(DESTDIR)$(prefix)/share/man' \
	    '$(DESTDIR)$(prefix)/share' '$(DESTDIR)$(prefix)' 2>/dev/null || : ;; esac

# The NAT gateway. Settings reach the helper in the environment: make nat-up WAN=eth0
NAT = $(addprefix nat-,up down status check print persist unpersist client verify)
export WAN LAN SUBNET SNAT BACKEND POLICY_SERVER POLICY_PORT MSS_CLAMP LATE FORCE GATEWAY TARGET
export DESTDIR

$(NAT):
	@sh src/$(HELPER) $(@:nat-%=%)

clean:
	rm -rf target

help:
	echo 'make                  build $(BUILT)'
	echo 'make static           the same, as one file that needs nothing'
	echo 'make run              serve policy.xml on 127.0.0.1:8430'
	echo 'make test             run all tests'
	echo 'make test-soak        all kinds of clients at once, for two minutes'
	echo 'make test-faults      each system call fails in each way, for five minutes'
	echo 'make bench            measure, beside the smallest server there can be and nginx'
	echo 'make install          to $(DESTDIR)$(prefix); an edited policy stays'
	echo 'make install-systemd  and service files for systemd, OpenRC or SysV;'
	echo 'make install-openrc   none is enabled'
	echo 'make install-sysv'
	echo 'make install-server, install-server-systemd and so on: without the NAT helper'
	echo 'make install-nat, install-nat-systemd and so on: the NAT helper alone'
	echo 'make uninstall        take it away; an edited policy stays'
	echo 'make nat-up WAN=eth0, nat-down, nat-status, nat-check, nat-print, nat-persist,'
	echo '     nat-unpersist, nat-client, nat-verify: src/$(HELPER) --help'
	echo 'make clean            remove what was built'
	echo 'variables: prefix (or PREFIX) sbindir sysconfdir policydir mandir linkdir DESTDIR'
	echo '           unitdir initdir confdir (for service files)'
	echo '           RUSTC RUSTFLAGS CARGO, TARGET LINKER (to build for another machine)'

# `make -j all install` builds before it installs.
.NOTPARALLEL:

FORCE:
.PHONY: all static run cargo test test-soak test-faults bench install install-server install-nat \
    $(foreach init,systemd openrc sysv,$(addsuffix -$(init),install install-server install-nat)) \
    plain-places uninstall clean help FORCE $(NAT)
