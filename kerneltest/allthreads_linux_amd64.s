#include "textflag.h"

// The kernel enters here on the thread that got the signal, on its signal
// stack, and restores every register afterwards.
TEXT ·handler(SB),NOSPLIT|NOFRAME,$0
	MOVQ	·threadCall+0(SB), AX
	MOVQ	·threadCall+8(SB), DI
	MOVQ	·threadCall+16(SB), SI
	MOVQ	·threadCall+24(SB), DX
	MOVQ	·threadCall+32(SB), R10
	MOVQ	·threadCall+40(SB), R8
	MOVQ	·threadCall+48(SB), R9
	SYSCALL
	CMPQ	AX, $0
	JGE	counted
	MOVQ	AX, ·threadErr(SB)
counted:
	LOCK
	INCQ	·threadCount(SB)
	RET // to restorer

TEXT ·restorer(SB),NOSPLIT|NOFRAME,$0
	MOVQ	$15, AX // rt_sigreturn
	SYSCALL
	INT	$3

TEXT ·handlerPC(SB),NOSPLIT,$0-8
	LEAQ	·handler(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·restorerPC(SB),NOSPLIT,$0-8
	LEAQ	·restorer(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
