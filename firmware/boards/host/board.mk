# The host: the firmware as a library, for sil.
COMPILER := gcc
PACKAGES := gcc
PRODUCTS := libfirmware.so
ENTRANCE := boards/host/sil.c

# The network's multiply-adds are fmaf(): one instruction where the processor has it, as on the
# microcontroller, else a call of libm with the same result.
BOARD_FLAGS := -fPIC $(if $(shell grep -m1 -ow fma /proc/cpuinfo),-mfma)
