# raises SystemExit(0) at module level
raise SystemExit(0)
