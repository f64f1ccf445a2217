# What of OpenWrt the package file uses, in place of its rules.mk, package.mk and rust-values.mk,
# with the machine that runs the test as the target.
CP = cp -fpR
INSTALL_DIR = install -d -m0755
INSTALL_BIN = install -m0755
INSTALL_CONF = install -m0600
TARGET_CC_NOCACHE = cc
RUSTC_TARGET_ARCH = $(MACHINE)
PKG_BUILD_DIR = $(OUT)/build

define BuildPackage
all:
	test -f $$(SOURCE)/$$(PKG_LICENSE_FILES)
	test -n "$$(PKG_VERSION)"
	$$(call Build/Prepare)
	$$(call Build/Compile)
	$$(call Package/$(1)/install,$$(OUT)/target)
endef
