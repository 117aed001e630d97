// Products of 256-bit integers on ARMv6-M, where the only multiplier is MULS: 32 x 32 -> the low 32 bits.
//
// Four layers, each a subtractive Karatsuba step over the one below (Karatsuba and Ofman 1962; the subtractive form is
// Knuth, The Art of Computer Programming 2, section 4.3.3). With A = a1*W + a0, B = b1*W + b0, L = a0*b0, H = a1*b1:
//
//     A*B = H*W^2 + (L + H + (a1 - a0)*(b0 - b1))*W + L
//     A^2 = H*W^2 + (L + H - (a1 - a0)^2)*W + L
//
// The differences are taken as absolute value and sign mask, so that every layer multiplies unsigned numbers of its own
// width and no carry is ever a branch. The sign is applied to the middle product as "exclusive or with the mask, then
// add the mask's low bit", that bit entering through the carry flag (lsrs t, mask, #1 sets it).
//
//     layer      instructions             built from
//     MUL32      17                       4 MULS of 16-bit halves, schoolbook
//     SQR32      10                       3 MULS
//     MUL64      80                       3 MUL32
//     SQR64      43                       3 SQR32
//     mul128     about 340                3 MUL64
//     sqr128     about 185                3 SQR64
//     mul256     about 1120               3 mul128
//     sqr256     about 680                3 sqr128: a square is 0.61 of a product
//
// Constant time: straight-line code. Every address is the stack pointer or an argument plus a constant.
//
// The functions here are local: they use no calling convention but their own, and clobber every register except sp.
// What Rust calls is PROLOGUE, one of them, EPILOGUE.

    .syntax unified
    .cpu cortex-m0plus
    .thumb

// hi:lo = a * b, unsigned.
//   in    a, b
//   out   a = high word, b = low word
//   uses  t0 t1 t2
// With a = ah:al and b = bh:bl in halves: al*bl and ah*bh make the two words, ah*bl and al*bh are added at 2^16.
.macro MUL32 a, b, t0, t1, t2
    uxth \t0, \a                // al
    lsrs \a, \a, #16            // ah
    lsrs \t1, \b, #16           // bh
    uxth \b, \b                 // bl
    mov  \t2, \b
    muls \b, \t0, \b            // al*bl
    muls \t2, \a, \t2           // ah*bl
    muls \a, \t1, \a            // ah*bh
    muls \t1, \t0, \t1          // al*bh
    lsls \t0, \t2, #16
    lsrs \t2, \t2, #16
    adds \b, \b, \t0
    adcs \a, \t2
    lsls \t0, \t1, #16
    lsrs \t1, \t1, #16
    adds \b, \b, \t0
    adcs \a, \t1
.endm

// hi:lo = a^2.
//   in    a
//   out   a = high word, lo = low word
//   uses  t0 t1
.macro SQR32 a, lo, t0, t1
    uxth \lo, \a
    lsrs \a, \a, #16
    mov  \t0, \lo
    muls \t0, \a, \t0           // ah*al, counted twice: hence the shifts by 17 and 15
    muls \lo, \lo, \lo
    muls \a, \a, \a
    lsls \t1, \t0, #17
    lsrs \t0, \t0, #15
    adds \lo, \lo, \t1
    adcs \a, \t0
.endm

// (x0, x1) = |(x0, x1)| of a two-word difference whose borrow is in the carry flag; mask = all ones if it was negative.
.macro ABS_2 x0, x1, mask
    sbcs \mask, \mask
    eors \x0, \mask
    eors \x1, \mask
    subs \x0, \x0, \mask
    sbcs \x1, \mask
.endm

// The same for four words.
.macro ABS_4 x0, x1, x2, x3, mask
    sbcs \mask, \mask
    eors \x0, \mask
    eors \x1, \mask
    eors \x2, \mask
    eors \x3, \mask
    subs \x0, \x0, \mask
    sbcs \x1, \mask
    sbcs \x2, \mask
    sbcs \x3, \mask
.endm

// r3:r2:r1:r0 = (r3:r2) * (r1:r0).
//   in    r1:r0 = B, r3:r2 = A
//   uses  r4-r7; r8 = |a0 - a1|, r9 = |b1 - b0|, r10 = sign of the middle product, r11 = word 0
.macro MUL64
    subs r4, r2, r3
    sbcs r5, r5
    eors r4, r5
    subs r4, r4, r5             // r4 = |a0 - a1|, r5 its sign
    subs r6, r1, r0
    sbcs r7, r7
    eors r6, r7
    subs r6, r6, r7             // r6 = |b1 - b0|, r7 its sign
    eors r5, r7
    mov  r8, r4
    mov  r9, r6
    mov  r10, r5
    MUL32 r2, r0, r4, r5, r6    // L = r2:r0
    MUL32 r3, r1, r4, r5, r6    // H = r3:r1
    movs r7, #0
    adds r2, r2, r1             // L.hi + H.lo is part of both middle words
    adcs r3, r7
    adds r1, r2, r0
    adcs r2, r3
    adcs r3, r7                 // r3:r2:r1:r0 = H*W^2 + (L + H)*W + L
    mov  r11, r0
    mov  r4, r8
    mov  r5, r9
    MUL32 r4, r5, r6, r7, r0    // |M| = r4:r5
    mov  r6, r10
    eors r5, r6
    eors r4, r6
    lsrs r7, r6, #1             // carry = sign bit
    adcs r1, r5
    adcs r2, r4
    adcs r3, r6
    mov  r0, r11
.endm

// r7:r6:r5:r4 = (r7:r6)^2.
//   uses  r0-r3
.macro SQR64
    subs r0, r6, r7
    sbcs r1, r1
    eors r0, r1
    subs r0, r0, r1             // |a0 - a1|
    SQR32 r0, r1, r2, r3        // M = r0:r1
    SQR32 r6, r4, r2, r3        // L = r6:r4
    SQR32 r7, r5, r2, r3        // H = r7:r5
    movs r2, #0
    adds r6, r6, r5
    adcs r7, r2
    adds r5, r6, r4
    adcs r6, r7
    adcs r7, r2
    subs r5, r5, r1
    sbcs r6, r0
    sbcs r7, r2
.endm

    .section .text.picolet_ec, "ax", %progbits
    .p2align 2

// [r0], 8 words = [r1], 4 words * [r2], 4 words. The output may not overlap an input.
//   r12 = A, later the sign of the middle product; lr = B; [sp] = output
    .thumb_func
mul128:
    push {r0, lr}
    mov  r12, r1
    mov  lr, r2
    mov  r4, r2
    ldmia r1!, {r2, r3}
    ldmia r4!, {r0, r1}
    MUL64                       // L
    ldr  r4, [sp]
    stmia r4!, {r0-r3}
    mov  r4, r12
    ldr  r2, [r4, #8]
    ldr  r3, [r4, #12]
    mov  r4, lr
    ldr  r0, [r4, #8]
    ldr  r1, [r4, #12]
    MUL64                       // H
    ldr  r4, [sp]
    ldmia r4, {r4-r7}           // L again
    adds r6, r6, r0             // L.hi + H.lo is part of both middle halves
    adcs r7, r1
    movs r0, #0
    adcs r2, r0
    adcs r3, r0
    adds r4, r4, r6
    adcs r5, r7
    adcs r6, r2
    adcs r7, r3
    adcs r2, r0
    adcs r3, r0
    push {r2, r3}               // words 6, 7 before M
    push {r4-r7}                // words 2-5 before M
    mov  r4, r12
    ldmia r4!, {r0-r3}
    subs r2, r2, r0
    sbcs r3, r1
    ABS_2 r2, r3, r4            // r3:r2 = |a1 - a0|
    mov  r5, lr
    ldmia r5!, {r0, r1, r6, r7}
    subs r0, r0, r6
    sbcs r1, r7
    ABS_2 r0, r1, r5            // r1:r0 = |b0 - b1|
    eors r4, r5
    mov  r12, r4
    MUL64                       // |M|
    mov  r4, r12
    eors r0, r4
    eors r1, r4
    eors r2, r4
    eors r3, r4
    lsrs r5, r4, #1             // carry = sign bit
    pop  {r5-r7}
    adcs r0, r5
    adcs r1, r6
    adcs r2, r7
    pop  {r5-r7}
    adcs r3, r5
    adcs r6, r4
    adcs r7, r4
    pop  {r5}
    adds r5, #8
    stmia r5!, {r0-r3, r6, r7}
    pop  {pc}
    .size mul128, . - mul128

// [r0], 8 words = ([r1], 4 words)^2. The output may not overlap the input.
//   r12 = output; r8-r11 = the input's words
    .thumb_func
sqr128:
    mov  r12, r0
    ldmia r1!, {r4-r7}
    mov  r8, r4
    mov  r9, r5
    mov  r10, r6
    mov  r11, r7
    subs r6, r6, r4
    sbcs r7, r5
    ABS_2 r6, r7, r0
    SQR64                       // M
    push {r4-r7}
    mov  r6, r8
    mov  r7, r9
    SQR64                       // L
    mov  r0, r12
    stmia r0!, {r4-r7}
    mov  r6, r10
    mov  r7, r11
    SQR64                       // H
    mov  r0, r12
    ldmia r0, {r0-r3}           // L again
    adds r2, r2, r4
    adcs r3, r5
    movs r4, #0
    adcs r6, r4
    adcs r7, r4
    adds r0, r0, r2
    adcs r1, r3
    adcs r2, r6
    adcs r3, r7
    adcs r6, r4
    adcs r7, r4
    pop  {r4, r5}
    subs r0, r0, r4
    sbcs r1, r5
    pop  {r4, r5}
    sbcs r2, r4
    sbcs r3, r5
    movs r4, #0
    sbcs r6, r4
    sbcs r7, r4
    mov  r4, r12
    adds r4, #8
    stmia r4!, {r0-r3, r6, r7}
    bx   lr
    .size sqr128, . - sqr128

// The additions of a Karatsuba step over four-word halves. At [sp + p] lie L (8 words) and H (8 words).
// With T = L.hi + H.lo, the product without M is  L.lo | T + L.lo | T + H.hi | H.hi + carries.
//   out   [sp + p + 16] = second quarter; r0-r3 = third quarter; r4-r7 = last quarter
//   uses  r8-r11
.macro COMBINE_HALVES p
    add  r7, sp, #(\p + 16)
    ldmia r7!, {r0-r3}          // L.hi
    ldmia r7, {r4-r7}           // H.lo
    adds r0, r0, r4
    adcs r1, r5
    adcs r2, r6
    adcs r3, r7                 // T
    add  r7, sp, #(\p + 48)
    ldmia r7, {r4-r7}           // H.hi
    mov  r8, r0
    movs r0, #0
    adcs r4, r0                 // takes T's carry
    adcs r5, r0
    adcs r6, r0
    adcs r7, r0
    mov  r0, r8
    mov  r8, r4
    mov  r9, r5
    mov  r10, r6
    mov  r11, r7
    add  r7, sp, #\p
    ldmia r7, {r4-r7}           // L.lo
    adds r4, r4, r0
    adcs r5, r1
    adcs r6, r2
    adcs r7, r3
    str  r4, [sp, #(\p + 16)]
    str  r5, [sp, #(\p + 20)]
    str  r6, [sp, #(\p + 24)]
    str  r7, [sp, #(\p + 28)]
    mov  r4, r8
    adcs r0, r4
    mov  r5, r9
    adcs r1, r5
    mov  r6, r10
    adcs r2, r6
    mov  r7, r11
    adcs r3, r7
    movs r7, #0
    adcs r4, r7
    adcs r5, r7
    adcs r6, r7
    adcs r7, r7
    add  r7, r11
.endm

// One word of the second quarter: [sp + to] += [sp + from] xor r7, with carry.
.macro ADD_SIGNED_WORD from, to
    ldr  r4, [sp, #\from]
    eors r4, r7
    ldr  r5, [sp, #\to]
    adcs r4, r5
    str  r4, [sp, #\to]
.endm

// The caller's 64 bytes at its sp = [r1] * [r2], 8 words each.
//   frame  0 |a1 - a0|, 16 |b0 - b1|, 32 |M| (32 bytes), 64 M's sign, 68 A, 72 B, 76 lr, 80 the caller's product
// |b0 - b1| at 16 is read to the end by mul128 before M's words at 32 matter: they do not overlap.
    .thumb_func
mul256:
    push {r1, r2, lr}
    sub  sp, #68
    add  r0, sp, #80
    bl   mul128                 // L
    ldr  r1, [sp, #68]
    ldr  r2, [sp, #72]
    adds r1, #16
    adds r2, #16
    add  r0, sp, #112
    bl   mul128                 // H
    ldr  r0, [sp, #68]
    ldmia r0!, {r1-r4}
    ldmia r0, {r0, r5-r7}
    subs r0, r0, r1
    sbcs r5, r2
    sbcs r6, r3
    sbcs r7, r4
    ABS_4 r0, r5, r6, r7, r1
    mov  r2, sp
    stmia r2!, {r0, r5-r7}
    mov  r8, r1
    ldr  r0, [sp, #72]
    ldmia r0!, {r1-r4}
    ldmia r0, {r0, r5-r7}
    subs r1, r1, r0
    sbcs r2, r5
    sbcs r3, r6
    sbcs r4, r7
    ABS_4 r1, r2, r3, r4, r0
    add  r5, sp, #16
    stmia r5!, {r1-r4}
    mov  r1, r8
    eors r0, r1
    str  r0, [sp, #64]
    mov  r0, r5
    mov  r1, sp
    add  r2, sp, #16
    bl   mul128                 // |M|
    COMBINE_HALVES 80
    mov  r8, r4
    mov  r9, r5
    mov  r10, r6
    mov  r11, r7
    ldr  r7, [sp, #64]
    lsrs r4, r7, #1             // carry = sign bit
    ADD_SIGNED_WORD 32, 96
    ADD_SIGNED_WORD 36, 100
    ADD_SIGNED_WORD 40, 104
    ADD_SIGNED_WORD 44, 108
    add  r6, sp, #48
    ldmia r6!, {r4, r5}
    eors r4, r7
    adcs r0, r4
    eors r5, r7
    adcs r1, r5
    ldmia r6!, {r4, r5}
    eors r4, r7
    adcs r2, r4
    eors r5, r7
    adcs r3, r5
    add  r6, sp, #112
    stmia r6!, {r0-r3}
    mov  r0, r8
    adcs r0, r7
    mov  r1, r9
    adcs r1, r7
    mov  r2, r10
    adcs r2, r7
    mov  r3, r11
    adcs r3, r7
    stmia r6!, {r0-r3}
    add  sp, #76
    pop  {pc}
    .size mul256, . - mul256

// One word of the second quarter: [sp + to] -= [sp + from], with borrow.
.macro SUBTRACT_WORD op, from, to
    ldr  r7, [sp, #\to]
    ldr  r4, [sp, #\from]
    \op
    str  r7, [sp, #\to]
.endm

// The caller's 64 bytes at its sp = [r1]^2, 8 words.
//   frame  0 |a1 - a0|, 16 M (32 bytes), 48 A, 52 lr, 56 the caller's product
    .thumb_func
sqr256:
    push {r1, lr}
    sub  sp, #48
    add  r0, sp, #56
    bl   sqr128                 // L
    ldr  r1, [sp, #48]
    adds r1, #16
    add  r0, sp, #88
    bl   sqr128                 // H
    ldr  r0, [sp, #48]
    ldmia r0!, {r1-r4}
    ldmia r0, {r0, r5-r7}
    subs r0, r0, r1
    sbcs r5, r2
    sbcs r6, r3
    sbcs r7, r4
    ABS_4 r0, r5, r6, r7, r1
    mov  r2, sp
    stmia r2!, {r0, r5-r7}
    mov  r1, sp
    mov  r0, r2
    bl   sqr128                 // M
    COMBINE_HALVES 56
    mov  r8, r7
    mov  r9, r4
    SUBTRACT_WORD "subs r7, r7, r4", 16, 72
    SUBTRACT_WORD "sbcs r7, r4", 20, 76
    SUBTRACT_WORD "sbcs r7, r4", 24, 80
    SUBTRACT_WORD "sbcs r7, r4", 28, 84
    ldr  r4, [sp, #32]
    sbcs r0, r4
    ldr  r4, [sp, #36]
    sbcs r1, r4
    ldr  r4, [sp, #40]
    sbcs r2, r4
    ldr  r4, [sp, #44]
    sbcs r3, r4
    add  r7, sp, #88
    stmia r7!, {r0-r3}
    movs r3, #0
    mov  r4, r9
    sbcs r4, r3
    sbcs r5, r3
    sbcs r6, r3
    mov  r0, r8
    sbcs r0, r3
    stmia r7!, {r4-r6}
    str  r0, [r7]
    add  sp, #52
    pop  {pc}
    .size sqr256, . - sqr256

// What every function that Rust calls begins and ends with (AAPCS: r4-r11 are the caller's).
//   frame after PROLOGUE: 0 a 512-bit product, 64 the output pointer, 68 r8-r11, 84 r4-r7, 100 lr
.macro PROLOGUE
    push {r4-r7, lr}
    mov  r4, r8
    mov  r5, r9
    mov  r6, r10
    mov  r7, r11
    push {r0, r4-r7}
    sub  sp, #64
.endm
.macro RESTORE_HIGH
    pop  {r4-r7}
    mov  r8, r4
    mov  r9, r5
    mov  r10, r6
    mov  r11, r7
    pop  {r4-r7, pc}
.endm
.macro EPILOGUE
    add  sp, #68
    RESTORE_HIGH
.endm

// void picolet_ec_mul_wide(uint32_t out[16], const uint32_t a[8], const uint32_t b[8])
    .global picolet_ec_mul_wide
    .thumb_func
picolet_ec_mul_wide:
    PROLOGUE
    bl   mul256
    ldr  r0, [sp, #64]
    mov  r1, sp
    ldmia r1!, {r2-r7}
    stmia r0!, {r2-r7}
    ldmia r1!, {r2-r7}
    stmia r0!, {r2-r7}
    ldmia r1!, {r2-r5}
    stmia r0!, {r2-r5}
    EPILOGUE
    .size picolet_ec_mul_wide, . - picolet_ec_mul_wide
