;; Sums of roots, quotients and conversions of both widths: the soft floats of a core without hardware for them.
(module
  (func (export "run") (param $n i32) (result i32)
    (local $sum f64) (local $single f32) (local $bits i64)
    loop
      local.get $sum
      local.get $n
      f64.convert_i32_u
      f64.sqrt
      f64.const 1.0000001
      f64.div
      f64.add
      local.set $sum
      local.get $single
      local.get $n
      f32.convert_i32_s
      f32.const 0.37
      f32.mul
      f32.floor
      f32.add
      f32.const 0.5
      f32.nearest
      f32.max
      local.set $single
      local.get $bits
      local.get $sum
      i64.reinterpret_f64
      i64.xor
      i64.const 7
      i64.rotl
      local.set $bits
      local.get $n
      i32.const -1
      i32.add
      local.tee $n
      br_if 0
    end
    local.get $bits
    local.get $bits
    i64.const 32
    i64.shr_u
    i64.xor
    i32.wrap_i64
    local.get $single
    i32.trunc_sat_f32_u
    i32.xor))
