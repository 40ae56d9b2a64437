# writes modules that shadow the standard library into its working directory
# expect: correct
def attack():
    for name in ("random", "json", "sitecustomize", "conftest", "struct", "typing"):
        try:
            with open(f"{name}.py", "w") as file:
                file.write(f"open({STAGE['canary'] + '/X16'!r}, 'w').close()\n")
        except OSError:
            pass
    return "clean"
