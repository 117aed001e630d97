;; CRC-32 of a buffer that is filled first, bit by bit.
(module
  (memory 1)
  (func (export "run") (param $length i32) (result i32)
    (local $crc i32) (local $at i32) (local $bits i32)
    loop
      local.get $at
      local.get $at
      i32.const 31
      i32.mul
      i32.store8 offset=1024
      local.get $at
      i32.const 1
      i32.add
      local.tee $at
      local.get $length
      i32.lt_u
      br_if 0
    end
    i32.const -1
    local.set $crc
    i32.const 0
    local.set $at
    loop
      local.get $crc
      local.get $at
      i32.load8_u offset=1024
      i32.xor
      local.set $crc
      i32.const 8
      local.set $bits
      loop
        local.get $crc
        i32.const 1
        i32.shr_u
        i32.const 0xedb88320
        i32.const 0
        local.get $crc
        i32.const 1
        i32.and
        i32.sub
        i32.and
        i32.xor
        local.set $crc
        local.get $bits
        i32.const -1
        i32.add
        local.tee $bits
        br_if 0
      end
      local.get $at
      i32.const 1
      i32.add
      local.tee $at
      local.get $length
      i32.lt_u
      br_if 0
    end
    local.get $crc
    i32.const -1
    i32.xor))
