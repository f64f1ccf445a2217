# What of Buildroot the package file uses, with the machine that runs the test as the target:
# SOURCE is a copy of the source, as Buildroot makes it, OUT where all else goes, INIT the init system.
BR2_EXTERNAL_FLASH_POLICY_SERV_PATH = $(SOURCE)/src/package/buildroot
BR2_PACKAGE_FLASH_POLICY_NAT = y
TARGET_MAKE_ENV = PATH="$$PATH"
TARGET_DIR = $(OUT)/target
TARGET_CC = cc
HOST_DIR = $(OUT)/host
RUSTC_TARGET_NAME = $(MACHINE)

define generic-package
$(SOURCE)/.stamp_target_installed:
	test -f $$(FLASH_POLICY_SERV_SITE)/$$(FLASH_POLICY_SERV_LICENSE_FILES)
	$$(FLASH_POLICY_SERV_BUILD_CMDS)
	$$(FLASH_POLICY_SERV_INSTALL_TARGET_CMDS)
	$$(FLASH_POLICY_SERV_INSTALL_INIT_$(INIT))
endef

include $(BR2_EXTERNAL_FLASH_POLICY_SERV_PATH)/external.mk
