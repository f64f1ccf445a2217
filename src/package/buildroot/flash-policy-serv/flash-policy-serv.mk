################################################################################
#
# flash-policy-serv
#
################################################################################

# The source that this file came with.
FLASH_POLICY_SERV_SITE = $(BR2_EXTERNAL_FLASH_POLICY_SERV_PATH)/../../..
FLASH_POLICY_SERV_SITE_METHOD = local
FLASH_POLICY_SERV_LICENSE = MIT
FLASH_POLICY_SERV_LICENSE_FILES = LICENSE
FLASH_POLICY_SERV_DEPENDENCIES = host-rustc

FLASH_POLICY_SERV_MAKE = $(TARGET_MAKE_ENV) $(MAKE) -C $(@D) prefix=/usr \
	DESTDIR=$(TARGET_DIR)
FLASH_POLICY_SERV_PARTS = server \
	$(if $(BR2_PACKAGE_FLASH_POLICY_NAT),nat)

define FLASH_POLICY_SERV_BUILD_CMDS
	$(FLASH_POLICY_SERV_MAKE) RUSTC=$(HOST_DIR)/bin/rustc \
		TARGET=$(RUSTC_TARGET_NAME) LINKER=$(TARGET_CC)
endef

define FLASH_POLICY_SERV_INSTALL_TARGET_CMDS
	$(FLASH_POLICY_SERV_MAKE) $(addprefix install-,$(FLASH_POLICY_SERV_PARTS))
endef

define FLASH_POLICY_SERV_INSTALL_INIT_SYSTEMD
	$(FLASH_POLICY_SERV_MAKE) \
		$(patsubst %,install-%-systemd,$(FLASH_POLICY_SERV_PARTS))
endef

define FLASH_POLICY_SERV_INSTALL_INIT_OPENRC
	$(FLASH_POLICY_SERV_MAKE) \
		$(patsubst %,install-%-openrc,$(FLASH_POLICY_SERV_PARTS))
endef

define FLASH_POLICY_SERV_INSTALL_INIT_SYSV
	$(FLASH_POLICY_SERV_MAKE) \
		$(patsubst %,install-%-sysv,$(FLASH_POLICY_SERV_PARTS))
	ln -sf flash-policy-serv $(TARGET_DIR)/etc/init.d/S50flash-policy-serv
endef

define FLASH_POLICY_SERV_USERS
	flash-policy-serv -1 flash-policy-serv -1 * - - - Socket policy file server
endef

$(eval $(generic-package))
