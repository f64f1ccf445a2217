include $(BR2_EXTERNAL_FLASH_POLICY_SERV_PATH)/flash-policy-serv/flash-policy-serv.mk
