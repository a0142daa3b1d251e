# ARM's MPS2 with the Cortex-M4F of application note 386, as QEMU models it. It is there for what the
# model of the STM32F405 lacks: a watchdog in hardware, and serial ports with a transmit interrupt.
COMPILER := arm-none-eabi-gcc
PACKAGES := gcc-arm-none-eabi libnewlib-arm-none-eabi
PRODUCTS := firmware.elf firmware.bin firmware.map
FLASH_BYTES := 4194304
MACHINE := mps2-an386
ON_REQUEST := true
ENTRANCE := src/loop/main.c $(wildcard boards/mps2-an386/*.c)

LINKER_SCRIPT := boards/mps2-an386/mps2_an386.ld
include boards/cortex_m4/cortex_m4.mk
