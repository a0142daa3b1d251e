/* The registers in use that every Cortex-M4F has, by the names of the ARMv7-M manual. */
#ifndef CORE_H
#define CORE_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define SYSTICK_CTRL REGISTER(0xE000E010u)
#define SYSTICK_LOAD REGISTER(0xE000E014u)
#define SYSTICK_VAL REGISTER(0xE000E018u)
#define NVIC_ISER(irq) REGISTER(0xE000E100u + 4u * ((irq) / 32u))
#define NVIC_PRIORITY(irq) (*(volatile uint8_t *)(0xE000E400u + (irq)))
#define SCB_AIRCR REGISTER(0xE000ED0Cu)
#define SCB_AIRCR_SYSRESETREQ (0x05FA0000u | 1u << 2)
#define SCB_CCR REGISTER(0xE000ED14u)
#define SCB_CCR_DIV_0_TRP (1u << 4)
#define SCB_PRIORITY_SYSTICK (*(volatile uint8_t *)0xE000ED23u)
#define SCB_SHCSR REGISTER(0xE000ED24u)
#define SCB_SHCSR_FAULTS (7u << 16) /* memory, bus and usage faults each have their handler */
#define SCB_CFSR REGISTER(0xE000ED28u)
#define SCB_CFSR_MEMORY 0x000000FFu
#define SCB_CFSR_MSTKERR (1u << 4)
#define SCB_CFSR_MMARVALID (1u << 7)
#define SCB_CFSR_BUS 0x0000FF00u
#define SCB_CFSR_STKERR (1u << 12)
#define SCB_CFSR_BFARVALID (1u << 15)
#define SCB_CFSR_USAGE 0xFFFF0000u
#define SCB_HFSR REGISTER(0xE000ED2Cu)
#define SCB_HFSR_FORCED (1u << 30)
#define SCB_MMFAR REGISTER(0xE000ED34u)
#define SCB_BFAR REGISTER(0xE000ED38u)
#define SCB_CPACR REGISTER(0xE000ED88u)
#define MPU_CTRL REGISTER(0xE000ED94u)
#define MPU_CTRL_ENABLE (1u << 0)
#define MPU_CTRL_PRIVDEFENA (1u << 2)
#define MPU_RBAR REGISTER(0xE000ED9Cu)
#define MPU_RBAR_VALID (1u << 4)
#define MPU_RASR REGISTER(0xE000EDA0u)
#define MPU_RASR_XN (1u << 28) /* and no access, as AP stays 0 */
#define MPU_RASR_64K (15u << 1)
#define MPU_RASR_ENABLE (1u << 0)
#define DEMCR REGISTER(0xE000EDFCu)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CYCCNT REGISTER(0xE0001004u)

/* Faults keep priority 0: they are told from one another also where all interrupts are masked. */
#define INTERRUPT_PRIORITY 0x80u

static inline void interrupts_off(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
}

static inline void interrupts_on(void)
{
    __asm__ volatile("cpsie i" ::: "memory");
}

/* Interrupts wait, faults do not. Nothing wakes a core that sleeps with this mask. */
static inline void interrupts_mask(uint32_t priority)
{
    __asm__ volatile("msr basepri, %0" ::"r"(priority) : "memory");
}

static inline void interrupt_start(uint32_t irq)
{
    NVIC_PRIORITY(irq) = INTERRUPT_PRIORITY;
    NVIC_ISER(irq) = 1u << (irq % 32u);
}

/* Wakes the core; its handler only counts down the watchdog. */
static inline void systick_start(uint32_t cycles)
{
    SCB_PRIORITY_SYSTICK = INTERRUPT_PRIORITY;
    SYSTICK_LOAD = cycles - 1u;
    SYSTICK_VAL = 0u;
    SYSTICK_CTRL = 7u; /* core clock, interrupt, on */
}

#endif
