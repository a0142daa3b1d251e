# What boards with a Cortex-M4F have in common. Debug information tells where a crash was; it stays
# in the ELF. A call at a function's end stays a call, so that the caller is on the stack.
ENTRANCE += $(wildcard boards/cortex_m4/*.c)
OBJDUMP := arm-none-eabi-objdump
OBJCOPY := arm-none-eabi-objcopy
BOARD_FLAGS := -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 -fcallgraph-info=su \
  -g -gno-record-gcc-switches -fno-optimize-sibling-calls
