# STM32F405, and QEMU's netduinoplus2, which models it.
COMPILER := arm-none-eabi-gcc
PACKAGES := gcc-arm-none-eabi libnewlib-arm-none-eabi
PRODUCTS := firmware.elf firmware.bin firmware.map
FLASH_BYTES := 1048576
MACHINE := netduinoplus2
FLASH_START := 0x08000000
FLASH_SECTORS := 4*16K 1*64K 7*128K
CHIP := 0x413
ENTRANCE := src/loop/main.c $(wildcard boards/stm32f405/*.c)

LINKER_SCRIPT := boards/stm32f405/stm32f405.ld
include boards/cortex_m4/cortex_m4.mk
