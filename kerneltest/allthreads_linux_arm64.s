#include "textflag.h"

// The kernel enters here on the thread that got the signal, on its signal
// stack, with the return through the vdso in R30, and restores every register
// afterwards.
TEXT ·handler(SB),NOSPLIT|NOFRAME,$0
	MOVD	$·threadCall(SB), R9
	MOVD	0(R9), R8
	MOVD	8(R9), R0
	MOVD	16(R9), R1
	MOVD	24(R9), R2
	MOVD	32(R9), R3
	MOVD	40(R9), R4
	MOVD	48(R9), R5
	SVC
	CMP	$0, R0
	BGE	counted
	MOVD	$·threadErr(SB), R9
	MOVD	R0, (R9)
counted:
	MOVD	$·threadCount(SB), R9
again:
	LDAXR	(R9), R10
	ADD	$1, R10
	STLXR	R10, (R9), R11
	CBNZ	R11, again
	RET

TEXT ·handlerPC(SB),NOSPLIT,$0-8
	MOVD	$·handler(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// No restorer: the vdso has one.
TEXT ·restorerPC(SB),NOSPLIT,$0-8
	MOVD	ZR, ret+0(FP)
	RET
