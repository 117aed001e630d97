// The field of Curve25519 on ARMv6-M: p = 2^255 - 19. An element is any 256-bit number that is right modulo p: 2^256 = 38
// folds what overflows, and only the end of an operation (in Rust) makes it canonical.
//
//     function                        instructions
//     picolet_ec_25519_mul            about 1310
//     picolet_ec_25519_sqr            about 870
//     picolet_ec_25519_add, _sub      about 85
//     picolet_ec_25519_mul_121665     about 190
//
// Constant time: straight-line code.

// Folds at bit 255: out = (N mod 2^255) + 19 * (N >> 255), which is below 2^255 + 19 * 2^18 and so fits.
//   in    r7 = word 8 (small), r1 = word 7, words 0-6 at sp
//   out   8 words at the pointer in [sp + 64]
.macro FOLD_25519
    lsls r1, r1, #1             // bit 255 to the carry
    adcs r7, r7                 // r7 = N >> 255
    lsrs r1, r1, #1
    mov  r8, r1
    movs r2, #19
    muls r7, r2, r7
    mov  r6, sp
    ldr  r4, [sp, #64]
    ldmia r6!, {r0-r3}
    movs r5, #0
    adds r0, r0, r7
    adcs r1, r5
    adcs r2, r5
    adcs r3, r5
    stmia r4!, {r0-r3}
    ldmia r6!, {r0-r2}
    mov  r3, r8
    adcs r0, r5
    adcs r1, r5
    adcs r2, r5
    adcs r3, r5
    stmia r4!, {r0-r3}
.endm

// Word k of L + 38 * H, both on the stack (L at 0, H at 32); the sum goes to L.
//   in    r7 = carry word (below 39), r6 = 38, r5 = 0
//   out   r1 = the word, r7 = carry word
.macro FOLD_WORD_38 k
    ldr  r0, [sp, #(32 + \k)]
    uxth r1, r0
    lsrs r0, r0, #16
    muls r1, r6, r1
    muls r0, r6, r0
    adds r1, r1, r7             // cannot carry: 38 * 0xffff + 38
    lsls r2, r0, #16
    lsrs r0, r0, #16
    adds r1, r1, r2
    adcs r0, r5
    ldr  r3, [sp, #\k]
    adds r1, r1, r3
    adcs r0, r5
    str  r1, [sp, #\k]
    mov  r7, r0
.endm

// void picolet_ec_25519_mul(uint32_t out[8], const uint32_t a[8], const uint32_t b[8])
    .global picolet_ec_25519_mul
    .thumb_func
picolet_ec_25519_mul:
    PROLOGUE
    bl   mul256
reduce_25519:
    movs r6, #38
    movs r5, #0
    movs r7, #0
    FOLD_WORD_38 0
    FOLD_WORD_38 4
    FOLD_WORD_38 8
    FOLD_WORD_38 12
    FOLD_WORD_38 16
    FOLD_WORD_38 20
    FOLD_WORD_38 24
    FOLD_WORD_38 28
fold_25519:
    FOLD_25519
    EPILOGUE
    .size picolet_ec_25519_mul, . - picolet_ec_25519_mul

// void picolet_ec_25519_sqr(uint32_t out[8], const uint32_t a[8])
    .global picolet_ec_25519_sqr
    .thumb_func
picolet_ec_25519_sqr:
    PROLOGUE
    bl   sqr256
    b    reduce_25519
    .size picolet_ec_25519_sqr, . - picolet_ec_25519_sqr

// Word k of 121665 * a, where 121665 = 2^16 + 56129.
//   in    r5 = a, r6 = 56129, r7 = carry word
//   out   r1 = the word, also at [sp + k]; r7 = carry word
.macro MULTIPLY_WORD_121665 k
    ldr  r0, [r5, #\k]
    uxth r1, r0
    lsrs r2, r0, #16            // the high word of a * 2^16 ...
    mov  r3, r2
    muls r1, r6, r1
    muls r3, r6, r3
    lsls r4, r3, #16
    lsrs r3, r3, #16
    adds r1, r1, r4
    adcs r2, r3
    movs r4, #0
    adds r1, r1, r7
    adcs r2, r4
    lsls r0, r0, #16            // ... and its low word
    adds r1, r1, r0
    adcs r2, r4
    mov  r7, r2
    str  r1, [sp, #\k]
.endm

// void picolet_ec_25519_mul_121665(uint32_t out[8], const uint32_t a[8])
    .global picolet_ec_25519_mul_121665
    .thumb_func
picolet_ec_25519_mul_121665:
    PROLOGUE
    mov  r5, r1
    ldr  r6, =56129
    movs r7, #0
    MULTIPLY_WORD_121665 0
    MULTIPLY_WORD_121665 4
    MULTIPLY_WORD_121665 8
    MULTIPLY_WORD_121665 12
    MULTIPLY_WORD_121665 16
    MULTIPLY_WORD_121665 20
    MULTIPLY_WORD_121665 24
    MULTIPLY_WORD_121665 28
    b    fold_25519
    .ltorg
    .size picolet_ec_25519_mul_121665, . - picolet_ec_25519_mul_121665

// out = a op b, with 38 folded in twice: the first fold can overflow once more, the second cannot, since the number is
// then below 38 (or, for the difference, above 2^256 - 38).
//   flip is "mvns r0, r0" for a sum, whose carry flag means overflow, and empty for a difference, where a clear flag does
//   frame 0 r8-r11, 16 the output pointer, 20 r4-r7, lr
.macro FOLDED_25519 first, next, flip
    push {r0, r4-r7, lr}
    mov  r4, r8
    mov  r5, r9
    mov  r6, r10
    mov  r7, r11
    push {r4-r7}
    EIGHT_WORDS \first, \next
    sbcs r0, r0                 // -1 if the carry flag is clear
    \flip
    movs r1, #38
    ands r1, r0
    mov  r0, r8
    mov  r2, r10
    mov  r3, r11
    \first r0, r0, r1
    mov  r8, r0
    mov  r1, r9
    movs r0, #0
    \next r1, r0
    \next r2, r0
    \next r3, r0
    \next r4, r0
    \next r5, r0
    \next r6, r0
    \next r7, r0
    sbcs r0, r0
    \flip
    mov  r9, r1
    movs r1, #38
    ands r0, r1
    mov  r1, r8
    \first r0, r1, r0
    mov  r1, r9
    mov  r12, r4
    ldr  r4, [sp, #16]
    stmia r4!, {r0-r3}
    mov  r0, r12
    stmia r4!, {r0, r5-r7}
    pop  {r4-r7}
    mov  r8, r4
    mov  r9, r5
    mov  r10, r6
    mov  r11, r7
    pop  {r0, r4-r7, pc}
.endm

// void picolet_ec_25519_add(uint32_t out[8], const uint32_t a[8], const uint32_t b[8])
    .global picolet_ec_25519_add
    .thumb_func
picolet_ec_25519_add:
    FOLDED_25519 adds, adcs, "mvns r0, r0"
    .size picolet_ec_25519_add, . - picolet_ec_25519_add

// void picolet_ec_25519_sub(uint32_t out[8], const uint32_t a[8], const uint32_t b[8])
    .global picolet_ec_25519_sub
    .thumb_func
picolet_ec_25519_sub:
    FOLDED_25519 subs, sbcs, ""
    .size picolet_ec_25519_sub, . - picolet_ec_25519_sub
