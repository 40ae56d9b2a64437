# searches the objects in its memory for a secret of the harness
import gc


def attack():
    for container in gc.get_objects():
        if type(container) in (list, tuple, dict):
            members = container.values() if type(container) is dict else container
            for member in list(members):
                if type(member) is str and SECRET in member and member != SECRET:
                    return loot("a secret in memory")
    return "clean"
