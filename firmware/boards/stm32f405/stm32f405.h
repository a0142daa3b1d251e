/* The registers in use, by the names of ST's reference manual RM0090. */
#ifndef STM32F405_H
#define STM32F405_H

#include <stdint.h>

#include "boards/cortex_m4/core.h"

#define RCC_CR REGISTER(0x40023800u)
#define RCC_CR_PLLON (1u << 24)
#define RCC_CR_PLLRDY (1u << 25)
#define RCC_PLLCFGR REGISTER(0x40023804u)
#define RCC_CFGR REGISTER(0x40023808u)
#define RCC_AHB1ENR REGISTER(0x40023830u)
#define RCC_AHB1ENR_GPIOAEN (1u << 0)
#define RCC_AHB1ENR_GPIOBEN (1u << 1)
#define RCC_APB1ENR REGISTER(0x40023840u)
#define RCC_APB1ENR_TIM2EN (1u << 0)
#define RCC_APB1ENR_TIM5EN (1u << 3)
#define RCC_APB1ENR_USART2EN (1u << 17)
#define RCC_APB1ENR_USART3EN (1u << 18)
#define RCC_APB2ENR REGISTER(0x40023844u)
#define RCC_APB2ENR_USART1EN (1u << 4)
#define RCC_CSR REGISTER(0x40023874u)
#define RCC_CSR_RMVF (1u << 24)
#define RCC_CSR_PINRSTF (1u << 26)
#define RCC_CSR_PORRSTF (1u << 27)
#define RCC_CSR_SFTRSTF (1u << 28)
#define RCC_CSR_WATCHDOG (3u << 29)

#define FLASH_ACR REGISTER(0x40023C00u)
#define FLASH_ACR_CACHES (3u << 9)  /* of instructions and data: on, */
#define FLASH_ACR_FORGET (3u << 11) /* emptied, while they are off */
#define FLASH_KEYR REGISTER(0x40023C04u)
#define FLASH_SR REGISTER(0x40023C0Cu)
#define FLASH_SR_ERRORS (0xF2u) /* operation, write protection, alignment, parallelism, sequence */
#define FLASH_SR_BSY (1u << 16)
#define FLASH_CR REGISTER(0x40023C10u)
#define FLASH_CR_PG (1u << 0)
#define FLASH_CR_SER (1u << 1)
#define FLASH_CR_SNB(sector) ((uint32_t)(sector) << 3)
#define FLASH_CR_PSIZE_WORD (2u << 8) /* 32 bits at once: at 2.7 to 3.6 V */
#define FLASH_CR_STRT (1u << 16)
#define FLASH_CR_LOCK (1u << 31)
#define FLASH_WORD(address) REGISTER(address)

#define DBGMCU_IDCODE REGISTER(0xE0042000u)
#define DBGMCU_DEVICE 0xFFFu
#define DEVICE_F405 0x413u /* also F407, F415 and F417, which differ in what is not in use here */

typedef struct {
    volatile uint32_t moder, otyper, ospeedr, pupdr, idr, odr, bsrr, lckr, afr[2];
} gpio_t;
#define GPIOA ((gpio_t *)0x40020000u)
#define GPIOB ((gpio_t *)0x40020400u)

typedef struct {
    volatile uint32_t cr1, cr2, smcr, dier, sr, egr, ccmr1, ccmr2, ccer, cnt, psc, arr;
} timer_t;
#define TIM2 ((timer_t *)0x40000000u)
#define TIM5 ((timer_t *)0x40000C00u)

typedef struct {
    volatile uint32_t sr, dr, brr, cr1, cr2, cr3;
} usart_t;
#define USART1 ((usart_t *)0x40011000u)
#define USART2 ((usart_t *)0x40004400u)
#define USART3 ((usart_t *)0x40004800u)
#define USART_SR_ORE (1u << 3)
#define USART_SR_RXNE (1u << 5)
#define USART_SR_TC (1u << 6)
#define USART_SR_TXE (1u << 7)
#define USART_CR1_RE (1u << 2)
#define USART_CR1_TE (1u << 3)
#define USART_CR1_RXNEIE (1u << 5)
#define USART_CR1_TCIE (1u << 6)
#define USART_CR1_TXEIE (1u << 7)
#define USART_CR1_UE (1u << 13)
#define USART_CR3_HDSEL (1u << 3)

#define IWDG_KR REGISTER(0x40003000u)
#define IWDG_KR_START 0xCCCCu
#define IWDG_KR_FEED 0xAAAAu
#define IWDG_KR_UNLOCK 0x5555u
#define IWDG_PR REGISTER(0x40003004u)
#define IWDG_RLR REGISTER(0x40003008u)
#define IWDG_RLR_MAX 4095u
#define IWDG_SR REGISTER(0x4000300Cu)
#define IWDG_SR_RVU (1u << 1)

enum { USART1_IRQ = 37, USART2_IRQ = 38, USART3_IRQ = 39, INTERRUPTS = 82 };

#endif
