// The field of P-256 on ARMv6-M: p = 2^256 - 2^224 + 2^192 + 2^96 - 1, elements in Montgomery form (R = 2^256), canonical.
//
// Montgomery reduction (Montgomery 1985; for primes of this shape Gueron and Krasnov, "Fast prime field elliptic-curve
// cryptography with 256-bit primes", 2013, section 4). Because -1/p = 1 mod 2^96, the quotient's words are the words of
// the number itself as it is cleared from below: no multiplication at all. With T the product and q its eight quotient
// words, T + q*p adds to word k
//
//     q[k-3] + q[k-6] - q[k-7] + q[k-8]        (and -q[k], which is what clears word k)
//
// It is done column-wise in two runs, words 6-10 (whose first two yield q6 and q7) and words 11-15, each run as three
// or four carry chains over five registers. The result is below 2p and one masked subtraction makes it canonical.
//
//     function                instructions    cycles
//     picolet_ec_p256_mul     about 1240      about 1580
//     picolet_ec_p256_sqr     about 800       about 1030
//     picolet_ec_p256_add     about 110
//     picolet_ec_p256_sub     about 85
//     picolet_ec_p256_half    about 105
//
// Constant time: straight-line code.

// lo = lo op high register, by way of t.
.macro HIGH op, lo, hi, t
    mov  \t, \hi
    \op  \lo, \t
.endm

// Subtracts p once if the number is not below it: N - p, and p & mask back if that went below zero.
//   in    r0-r5 = words 0-5, r8 = word 6, r9 = word 7, r10 = word 8 (0 or 1); the number is below 2p
//   out   8 words at the pointer in [sp + 64]
//   uses  everything
.macro P256_CANONICAL
    movs r6, #0
    mvns r7, r6                 // p = ffffffff 00000001 00000000 00000000 00000000 ffffffff ffffffff ffffffff
    subs r0, r0, r7
    sbcs r1, r7
    sbcs r2, r7
    sbcs r3, r6
    sbcs r4, r6
    sbcs r5, r6
    mov  r11, r0
    movs r0, #1
    mov  r6, r8
    sbcs r6, r0
    mov  r8, r6
    mov  r6, r9
    sbcs r6, r7
    mov  r9, r6
    mov  r7, r10
    movs r6, #0
    sbcs r7, r6                 // mask: 0, or all ones where it went below zero
    lsrs r0, r7, #31
    mov  r12, r0                // p's word 6 under the mask
    mov  r0, r11
    adds r0, r0, r7
    adcs r1, r7
    adcs r2, r7
    adcs r3, r6
    adcs r4, r6
    adcs r5, r6
    ldr  r6, [sp, #64]
    stmia r6!, {r0-r5}
    mov  r0, r8
    mov  r1, r12
    adcs r0, r1
    mov  r1, r9
    adcs r1, r7
    stmia r6!, {r0, r1}
.endm

// [[sp + 64]] = (the 16 words at sp) / 2^256 mod p.
//   q0-q5 live in r8-r12 and lr
.macro P256_REDUCE
    mov  r7, sp
    ldmia r7!, {r0-r5}
    adds r3, r3, r0             // q3 = T3 + q0, q4 = T4 + q1, q5 = T5 + q2
    adcs r4, r1
    adcs r5, r2
    movs r6, #0
    adcs r6, r6                 // r6: carry into word 6, used below
    mov  r8, r0
    mov  r9, r1
    mov  r10, r2
    mov  r11, r3
    mov  r12, r4
    mov  lr, r5

    // words 6-10 in r0-r4, r7 the signed carry into word 11. First + q[k-6]:
    ldmia r7!, {r0-r4}
    mov  r5, r8
    adds r0, r0, r5
    HIGH adcs, r1, r9, r5
    HIGH adcs, r2, r10, r5
    HIGH adcs, r3, r11, r5
    HIGH adcs, r4, r12, r5
    movs r7, #0
    adcs r7, r7
    mov  r5, r8                 // - q[k-7]
    subs r1, r1, r5
    HIGH sbcs, r2, r9, r5
    HIGH sbcs, r3, r10, r5
    HIGH sbcs, r4, r11, r5
    sbcs r5, r5
    adds r7, r7, r5
    mov  r5, r8                 // + q[k-8]
    adds r2, r2, r5
    HIGH adcs, r3, r9, r5
    HIGH adcs, r4, r10, r5
    movs r5, #0
    adcs r7, r5
    lsrs r6, r6, #1             // + q[k-3] and the carry from word 5
    HIGH adcs, r0, r11, r5      // r0 = q6
    HIGH adcs, r1, r12, r5      // r1 = q7
    HIGH adcs, r2, lr, r5
    adcs r3, r0
    adcs r4, r1
    adcs r7, r6                 // r6 is 0
    add  r5, sp, #32
    stmia r5!, {r2-r4}          // words 8-10 are the result's words 0-2

    // words 11-15 in r3-r7, r10 the ninth word of the result. First the carry from word 10, which may be negative:
    mov  r2, r7
    ldmia r5, {r3-r7}
    mov  r8, r1
    asrs r1, r2, #31
    adds r3, r3, r2
    adcs r4, r1
    adcs r5, r1
    adcs r6, r1
    adcs r7, r1
    movs r2, #0
    adcs r2, r1
    mov  r10, r2
    mov  r1, r8
    mov  r2, lr                 // + q[k-6]
    adds r3, r3, r2
    adcs r4, r0
    adcs r5, r1
    movs r2, #0
    adcs r6, r2
    adcs r7, r2
    adcs r2, r2
    add  r10, r2
    mov  r2, r12                // - q[k-7]
    subs r3, r3, r2
    HIGH sbcs, r4, lr, r2
    sbcs r5, r0
    sbcs r6, r1
    movs r2, #0
    sbcs r7, r2
    sbcs r2, r2
    add  r10, r2
    mov  r2, r11                // + q[k-8]; q[k-3] has no words left here, its own words 8-10 were above
    adds r3, r3, r2
    HIGH adcs, r4, r12, r2
    HIGH adcs, r5, lr, r2
    adcs r6, r0
    adcs r7, r1
    movs r2, #0
    adcs r2, r2
    add  r10, r2
    mov  r8, r6
    mov  r9, r7
    add  r7, sp, #32
    ldmia r7!, {r0-r2}
    P256_CANONICAL
.endm

// r8-r11 and r4-r7 = [r1] op [r2] over eight words; the carry or borrow stays in the flag.
//   uses  r0, r3; r1 and r2 advance
.macro EIGHT_WORDS first, next
    ldmia r1!, {r4-r7}
    ldmia r2!, {r0, r3}
    \first r4, r4, r0
    \next  r5, r3
    ldmia r2!, {r0, r3}
    \next  r6, r0
    \next  r7, r3
    mov  r8, r4
    mov  r9, r5
    mov  r10, r6
    mov  r11, r7
    ldmia r1!, {r4-r7}
    ldmia r2!, {r0, r3}
    \next  r4, r0
    \next  r5, r3
    ldmia r2!, {r0, r3}
    \next  r6, r0
    \next  r7, r3
.endm

// void picolet_ec_p256_mul(uint32_t out[8], const uint32_t a[8], const uint32_t b[8]): out = a * b / R
    .global picolet_ec_p256_mul
    .thumb_func
picolet_ec_p256_mul:
    PROLOGUE
    bl   mul256
p256_reduce:
    P256_REDUCE
    EPILOGUE
    .size picolet_ec_p256_mul, . - picolet_ec_p256_mul

// void picolet_ec_p256_sqr(uint32_t out[8], const uint32_t a[8]): out = a^2 / R
    .global picolet_ec_p256_sqr
    .thumb_func
picolet_ec_p256_sqr:
    PROLOGUE
    bl   sqr256
    b    p256_reduce
    .size picolet_ec_p256_sqr, . - picolet_ec_p256_sqr

// void picolet_ec_p256_add(uint32_t out[8], const uint32_t a[8], const uint32_t b[8]): out = a + b
    .global picolet_ec_p256_add
    .thumb_func
picolet_ec_p256_add:
    PROLOGUE
    EIGHT_WORDS adds, adcs
    movs r0, #0
    adcs r0, r0
    mov  r12, r0
    mov  r0, r8
    mov  r1, r9
    mov  r2, r10
    mov  r3, r11
    mov  r8, r6
    mov  r9, r7
    mov  r10, r12
    P256_CANONICAL
    EPILOGUE
    .size picolet_ec_p256_add, . - picolet_ec_p256_add

// void picolet_ec_p256_sub(uint32_t out[8], const uint32_t a[8], const uint32_t b[8]): out = a - b, plus p if that is negative
    .global picolet_ec_p256_sub
    .thumb_func
picolet_ec_p256_sub:
    push {r0, r4-r7, lr}
    mov  r4, r8
    mov  r5, r9
    mov  r6, r10
    mov  r7, r11
    push {r4-r7}
    EIGHT_WORDS subs, sbcs
    sbcs r3, r3                 // mask: all ones if negative
    mov  r12, r4
    ldr  r4, [sp, #16]
    mov  r0, r8
    mov  r1, r9
    mov  r2, r10
    adds r0, r0, r3             // words 0-2 of p under the mask are the mask itself
    adcs r1, r3
    adcs r2, r3
    stmia r4!, {r0-r2}
    movs r0, #0                 // words 3-5 are 0
    mov  r1, r11
    adcs r1, r0
    mov  r2, r12
    adcs r2, r0
    adcs r5, r0
    stmia r4!, {r1, r2, r5}
    sbcs r0, r0                 // -1 if no carry
    adds r0, r0, #1             // the carry into word 6
    lsrs r1, r3, #31            // word 6 is 1
    adds r0, r0, r1             // at most 2
    adds r6, r6, r0
    adcs r7, r3
    stmia r4!, {r6, r7}
    pop  {r4-r7}
    mov  r8, r4
    mov  r9, r5
    mov  r10, r6
    mov  r11, r7
    pop  {r0, r4-r7, pc}
    .size picolet_ec_p256_sub, . - picolet_ec_p256_sub

// One word of a right shift: hi:lo -> lo = (hi << 31) | (lo >> 1), with hi's lowest bit already at bit 31 of carry.
//   out   lo shifted; carry = old lo's lowest bit at bit 31
.macro SHIFT_RIGHT lo, carry, t
    lsls \t, \lo, #31
    lsrs \lo, \lo, #1
    orrs \lo, \carry
    mov  \carry, \t
.endm

// void picolet_ec_p256_half(uint32_t out[8], const uint32_t a[8]): out = a / 2 mod p, as (a + (a odd ? p : 0)) >> 1
    .global picolet_ec_p256_half
    .thumb_func
picolet_ec_p256_half:
    push {r0, r4-r7, lr}
    mov  r4, r8
    mov  r5, r9
    mov  r6, r10
    mov  r7, r11
    push {r4-r7}
    ldmia r1!, {r4-r7}
    mov  r8, r7                 // word 3
    ldmia r1!, {r0, r2, r3, r7}
    mov  r9, r0                 // word 4
    mov  r10, r2                // word 5
    mov  r11, r3                // word 6; r7 = word 7
    movs r1, #1
    ands r1, r4                 // p's word 6 under the mask
    movs r2, #0
    negs r0, r1                 // the mask
    adds r4, r4, r0
    adcs r5, r0
    adcs r6, r0
    mov  r3, r8
    adcs r3, r2
    mov  r8, r3
    mov  r3, r9
    adcs r3, r2
    mov  r9, r3
    mov  r3, r10
    adcs r3, r2
    mov  r10, r3
    mov  r3, r11
    adcs r3, r1                 // r3 = word 6
    adcs r7, r0
    adcs r2, r2                 // bit 256
    lsls r2, r2, #31
    SHIFT_RIGHT r7, r2, r1
    SHIFT_RIGHT r3, r2, r1
    mov  r11, r3
    mov  r3, r10
    SHIFT_RIGHT r3, r2, r1
    mov  r10, r3
    mov  r3, r9
    SHIFT_RIGHT r3, r2, r1
    mov  r9, r3
    mov  r3, r8
    SHIFT_RIGHT r3, r2, r1      // r3 = word 3
    SHIFT_RIGHT r6, r2, r1
    SHIFT_RIGHT r5, r2, r1
    lsrs r4, r4, #1
    orrs r4, r2
    ldr  r0, [sp, #16]
    stmia r0!, {r4-r6}
    mov  r4, r9
    mov  r5, r10
    mov  r6, r11
    stmia r0!, {r3-r7}
    pop  {r4-r7}
    mov  r8, r4
    mov  r9, r5
    mov  r10, r6
    mov  r11, r7
    pop  {r0, r4-r7, pc}
    .size picolet_ec_p256_half, . - picolet_ec_p256_half
