;; Fibonacci numbers as LLVM compiles the recursive function: one of the two calls becomes a loop.
(module
  (func $fib (export "run") (param $n i32) (result i32)
    (local $sum i32)
    block
      local.get $n
      i32.const 2
      i32.lt_u
      br_if 0
      loop
        local.get $n
        i32.const -1
        i32.add
        call $fib
        local.get $sum
        i32.add
        local.set $sum
        local.get $n
        i32.const -2
        i32.add
        local.tee $n
        i32.const 1
        i32.gt_u
        br_if 0
      end
    end
    local.get $n
    local.get $sum
    i32.add))
