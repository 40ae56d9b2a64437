# prints a million empty lines
# expect: correct
def attack():
    print("\n" * 1_000_000, end="")
    return "clean"
