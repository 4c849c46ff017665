#include "textflag.h"

// func call386(nr, a1, a2, a3, a4, a5, a6 uint32) uint32
// The frame of 8 bytes makes the assembler keep BP, which holds an argument.
TEXT ·call386(SB), NOSPLIT, $8-36
	MOVL nr+0(FP), AX
	MOVL a1+4(FP), BX
	MOVL a2+8(FP), CX
	MOVL a3+12(FP), DX
	MOVL a4+16(FP), SI
	MOVL a5+20(FP), DI
	MOVL a6+24(FP), BP
	INT $0x80
	MOVL AX, ret+32(FP)
	RET
