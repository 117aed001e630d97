// Constant-time table read on ARMv6-M.
//
// The whole table is read and masked, whatever the index: behind the RP2040's flash cache the time of a load depends on
// what was loaded before, and an address that depends on a secret would tell of it. The table is walked once for each
// group of four words, so that the sum stays in registers. 14 instructions an entry and group.

// void NAME(uint32_t *out, const uint32_t *table, uint32_t entries, uint32_t index)
//   out = table[index] for entries of \groups * 4 words; nothing but zeros if the index is out of range
//   r8 = step to the next entry after four words, r9 = index, r10 = index - entries, r11 = table, r12 = out, lr = groups
//   in the loop: r0 = cursor, r1-r4 = sum, r5 = mask, r6 = word, r7 = index - entry number
.macro LOOKUP groups
    push {r4-r7, lr}
    mov  r4, r8
    mov  r5, r9
    mov  r6, r10
    mov  r7, r11
    push {r4-r7}
    mov  r12, r0
    mov  r11, r1
    mov  r9, r3
    subs r2, r3, r2
    mov  r10, r2
    movs r0, #(\groups * 16 - 16)
    mov  r8, r0
    movs r0, #\groups
    mov  lr, r0
1:  mov  r0, r11
    mov  r7, r9
    movs r1, #0
    movs r2, #0
    movs r3, #0
    movs r4, #0
2:  subs r7, r7, #1             // borrows only where it was 0 (below that it has wrapped around): the wanted entry
    sbcs r5, r5                 // so the mask is all ones there and 0 elsewhere
    ldmia r0!, {r6}
    ands r6, r5
    orrs r1, r6
    ldmia r0!, {r6}
    ands r6, r5
    orrs r2, r6
    ldmia r0!, {r6}
    ands r6, r5
    orrs r3, r6
    ldmia r0!, {r6}
    ands r6, r5
    orrs r4, r6
    add  r0, r8
    cmp  r7, r10
    bne  2b
    mov  r0, r12
    stmia r0!, {r1-r4}
    mov  r12, r0
    mov  r0, r11
    adds r0, #16
    mov  r11, r0
    mov  r0, lr
    subs r0, r0, #1
    mov  lr, r0
    bne  1b
    RESTORE_HIGH
.endm

// Points of P-256: two coordinates of eight words.
    .global picolet_ec_lookup_16
    .thumb_func
picolet_ec_lookup_16:
    LOOKUP 4
    .size picolet_ec_lookup_16, . - picolet_ec_lookup_16

// Points of edwards25519: three coordinates of eight words.
    .global picolet_ec_lookup_24
    .thumb_func
picolet_ec_lookup_24:
    LOOKUP 6
    .size picolet_ec_lookup_24, . - picolet_ec_lookup_24
