# flash-policy-serv: `make help` lists what there is to do. GNU make; building needs rustc and a
# linker, testing needs cargo as well.

PREFIX = /usr/local/flash-policy-serv
prefix = $(PREFIX)
bindir = $(prefix)/bin
sysconfdir = $(prefix)/etc
# The default prefix is a folder of the program's own, where man does not look.
mandir = $(patsubst /usr/local/flash-policy-serv,/usr/local,$(prefix))/share/man
unitdir = /usr/local/lib/systemd/system
initdir = /etc/init.d
confdir = /etc/conf.d
defaultdir = /etc/default

RUSTC = rustc
CARGO = cargo
INSTALL = install
# For another machine: its name in rustc, and the C compiler that links for it.
TARGET =
LINKER =

NAME = flash-policy-serv
HELPER = flash-policy-nat
BUILT = target/$(NAME)
POLICY = $(sysconfdir)/crossdomain.xml
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)

# The same as the release profile in Cargo.toml.
RUSTFLAGS = -C opt-level=s -C lto -C codegen-units=1 -C panic=abort -C strip=symbols
MACHINE = $(if $(TARGET),--target $(TARGET)) $(if $(LINKER),-C linker=$(LINKER))

# What the program is built from beside its source: a change of it builds anew, and takes away what
# was built before, so that nobody installs that.
SETTINGS = $(RUSTC) $(RUSTFLAGS) $(MACHINE) $(VERSION) $(POLICY)

all: $(BUILT)

$(BUILT): $(wildcard src/*.rs src/*.txt src/*.ld) target/settings
	MAKEFLAGS= FLASH_POLICY_FILE='$(POLICY)' CARGO_PKG_VERSION='$(VERSION)' $(RUSTC) --edition 2021 \
	    --crate-name flash_policy_serv $(RUSTFLAGS) $(MACHINE) -o $@ src/main.rs

target/settings: FORCE
	@mkdir -p target
	@echo '$(SETTINGS)' | cmp -s - $@ || { rm -f $(BUILT); echo '$(SETTINGS)' > $@; }

# With musl where rustc has it, else with the C library of this machine.
HOST = $(shell $(RUSTC) -vV | sed -n 's/^host: //p')
MUSL = $(subst -gnu,-musl,$(HOST))
MUSL_INSTALLED = $(wildcard $(shell $(RUSTC) --print target-libdir --target $(MUSL)))
static:
	@$(MAKE) TARGET=$(or $(TARGET),$(if $(MUSL_INSTALLED),$(MUSL),$(HOST))) \
	    RUSTFLAGS='$(RUSTFLAGS) -C target-feature=+crt-static -C link-arg=-Wl,-T,src/static.ld'

run: $(BUILT)
	@printf '%s\n' "In another terminal: printf '<policy-file-request/>\0' | nc 127.0.0.1 8430"
	@$(BUILT) --listen 127.0.0.1:8430 --policy policy.xml

test:
	$(CARGO) test --locked

# SOAK_SECONDS=N for another time than 120.
test-soak:
	$(CARGO) test --locked --test soak -- --ignored --nocapture

# PEER=IP:PORT for one more server beside.
bench:
	$(CARGO) bench --locked --bench load

# keep SHIPPED,INSTALLED: installs a file that its administrator may edit; an edited one stays.
define keep
	@if test ! -e '$(DESTDIR)$(2)' && test ! -L '$(DESTDIR)$(2)'; then \
	    echo 'installing $(DESTDIR)$(2)'; \
	    $(INSTALL) -m 644 $(1) '$(DESTDIR)$(2)'; \
	elif ! cmp -s $(1) '$(DESTDIR)$(2)'; then \
	    echo 'keeping $(DESTDIR)$(2); the shipped one is $(DESTDIR)$(2).default'; \
	    $(INSTALL) -m 644 $(1) '$(DESTDIR)$(2).default'; \
	fi
endef

# remove SHIPPED,INSTALLED: the opposite.
define remove
	rm -f '$(DESTDIR)$(2).default'; \
	if test ! -L '$(DESTDIR)$(2)' && cmp -s $(1) '$(DESTDIR)$(2)'; then rm '$(DESTDIR)$(2)'; \
	elif test -e '$(DESTDIR)$(2)' || test -L '$(DESTDIR)$(2)'; then echo 'keeping $(DESTDIR)$(2)'; fi
endef

# service SHIPPED,INSTALLED,MODE: installs a service file with the places filled in.
define service
	sed 's|@bindir@|$(bindir)|; s|@defaultdir@|$(defaultdir)|' $(1) > '$(DESTDIR)$(2)'
	chmod $(3) '$(DESTDIR)$(2)'
endef

# The settings of the OpenRC and the SysV service.
define remove_settings
	$(call remove,src/service/$(NAME).confd,$(confdir)/$(NAME)); \
	$(call remove,src/service/$(NAME).default,$(defaultdir)/$(NAME));
endef

# remove_service INSTALLED,COMMANDS: unless it belongs to an installation under another prefix; then
# the commands, for what goes with it.
define remove_service
	@if grep -qsF '$(bindir)/$(NAME)' '$(DESTDIR)$(1)'; then rm '$(DESTDIR)$(1)'; $(2) fi
endef

# Never builds, so that it can run as root on what a user built. An edited policy stays.
install:
	@test -x $(BUILT) || { echo "$(BUILT) is missing: run make first" >&2; exit 1; }
	@case "$$(cat target/settings)" in *' $(VERSION) $(POLICY)') ;; *) echo "$(BUILT) was built" \
	    "for another place: run make with the same prefix and sysconfdir first" >&2; exit 1 ;; esac
	$(INSTALL) -d '$(DESTDIR)$(bindir)' '$(DESTDIR)$(sysconfdir)' '$(DESTDIR)$(mandir)/man8'
	$(INSTALL) -m 755 $(BUILT) src/$(HELPER) '$(DESTDIR)$(bindir)'
	$(INSTALL) -m 644 src/$(NAME).8 src/$(HELPER).8 '$(DESTDIR)$(mandir)/man8'
	$(call keep,policy.xml,$(POLICY))

# Service files are installed, and never enabled.

# In units and in shell scripts some characters would need quotes, and not the same ones.
plain-places:
	@case '$(bindir)$(defaultdir)' in *[!A-Za-z0-9/._+@:,=~-]*) echo "a service cannot start from" \
	    "$(bindir): use letters, digits and / . _ + @ : , = ~ - in bindir and defaultdir" >&2; \
	    exit 1 ;; esac

install-systemd: plain-places install
	$(INSTALL) -d '$(DESTDIR)$(unitdir)'
	$(call service,src/service/$(NAME).service,$(unitdir)/$(NAME).service,644)
	$(call service,src/service/$(NAME)-stdin.service,$(unitdir)/$(NAME)-stdin.service,644)
	$(call service,src/service/$(NAME)-stdin.socket,$(unitdir)/$(NAME)-stdin.socket,644)

install-openrc: plain-places install
	$(INSTALL) -d '$(DESTDIR)$(initdir)' '$(DESTDIR)$(confdir)'
	$(call service,src/service/$(NAME).openrc,$(initdir)/$(NAME),755)
	$(call keep,src/service/$(NAME).confd,$(confdir)/$(NAME))

install-sysv: plain-places install
	$(INSTALL) -d '$(DESTDIR)$(initdir)' '$(DESTDIR)$(defaultdir)'
	$(call service,src/service/$(NAME).sysv,$(initdir)/$(NAME),755)
	$(call keep,src/service/$(NAME).default,$(defaultdir)/$(NAME))

uninstall:
	rm -f '$(DESTDIR)$(bindir)/$(NAME)' '$(DESTDIR)$(bindir)/$(HELPER)'
	rm -f '$(DESTDIR)$(mandir)/man8/$(NAME).8' '$(DESTDIR)$(mandir)/man8/$(HELPER).8'
	@$(call remove,policy.xml,$(POLICY))
	$(call remove_service,$(unitdir)/$(NAME).service)
	$(call remove_service,$(unitdir)/$(NAME)-stdin.service)
	$(call remove_service,$(unitdir)/$(NAME)-stdin.socket)
	$(call remove_service,$(initdir)/$(NAME),$(remove_settings))
	@case '$(prefix)' in */$(NAME)) rmdir '$(DESTDIR)$(bindir)' '$(DESTDIR)$(sysconfdir)' \
	    '$(DESTDIR)$(prefix)/share/man/man8' '$(DESTDIR)$(prefix)/share/man' \
	    '$(DESTDIR)$(prefix)/share' '$(DESTDIR)$(prefix)' 2>/dev/null || : ;; esac

# The NAT gateway. Settings reach the helper in the environment: make nat-up WAN=eth0 LAN=eth1
NAT = $(addprefix nat-,up down status check print persist unpersist client verify)
export WAN LAN SUBNET SNAT BACKEND POLICY_SERVER POLICY_PORT MSS_CLAMP STATE_DIR GATEWAY TARGET
export DESTDIR

$(NAT):
	@sh src/$(HELPER) $(@:nat-%=%)

clean:
	rm -rf target

help:
	@echo 'make                  build $(BUILT)'
	@echo 'make static           the same, as one file that needs nothing'
	@echo 'make run              serve policy.xml on 127.0.0.1:8430'
	@echo 'make test             run all tests'
	@echo 'make test-soak        all kinds of clients at once, for two minutes'
	@echo 'make bench            measure, beside the smallest server there can be and nginx'
	@echo 'make install          to $(DESTDIR)$(prefix); an edited policy stays'
	@echo 'make install-systemd  and service files for systemd, OpenRC or SysV;'
	@echo 'make install-openrc   none is enabled'
	@echo 'make install-sysv'
	@echo 'make uninstall        take it away; an edited policy stays'
	@echo 'make nat-up WAN=eth0 LAN=eth1, nat-down, nat-status, nat-check, nat-print, nat-persist,'
	@echo '     nat-unpersist, nat-client, nat-verify: src/$(HELPER) --help'
	@echo 'make clean            remove what was built'
	@echo 'variables: prefix (or PREFIX) bindir sysconfdir mandir DESTDIR RUSTC CARGO'
	@echo '           TARGET LINKER (to build for another machine)'
	@echo '           unitdir initdir confdir defaultdir (for service files)'

# `make -j all install` builds before it installs.
.NOTPARALLEL:

FORCE:
.PHONY: all static run test test-soak bench install install-systemd install-openrc install-sysv \
    plain-places uninstall clean help FORCE $(NAT)
