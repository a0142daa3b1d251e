# STM32F405, and QEMU's netduinoplus2, which models it.
COMPILER := arm-none-eabi-gcc
PACKAGES := gcc-arm-none-eabi libnewlib-arm-none-eabi
PRODUCTS := firmware.elf firmware.bin
FLASH_BYTES := 1048576
ENTRANCE := src/loop/main.c $(wildcard boards/stm32f405/*.c)

OBJCOPY := arm-none-eabi-objcopy
LINKER_SCRIPT := boards/stm32f405/stm32f405.ld
BOARD_FLAGS := -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 -fstack-usage
