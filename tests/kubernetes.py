"""Renders the overlays that are named with kustomize's own code, holds what is of Kubernetes itself against its schemas,
and prints everything as JSON: {overlay: [object, …]}.

kustomize comes as a library in the package pykustomize, whose Python wants a newer Python than most have: only the library is
used. The schemas are in the package kubernetes-validate.
"""

import ctypes
import json
import pathlib
import sys
import sysconfig

import kubernetes_validate
import yaml

# The oldest that has all that the manifests use (`sleep` in preStop), and the newest that there are schemas of.
VERSIONS = ["1.30", "1.37"]


def kustomize():
    site = pathlib.Path(sysconfig.get_paths()["purelib"])
    library = ctypes.CDLL(str(site / "pykustomize/_lib/linux-amd64/libpykustomize.so"))
    library.pykustomize_last_error.restype = ctypes.c_void_p

    def build(folder):
        result = ctypes.c_void_p()
        if library.pykustomize_build(folder.encode(), b"{}", ctypes.byref(result)) != 0:
            raise SystemExit(f"{folder}: {ctypes.string_at(library.pykustomize_last_error()).decode()}")
        return list(yaml.safe_load_all(ctypes.string_at(result.value)))

    return build


def main(folders):
    build = kustomize()
    rendered, faults = {}, []
    for folder in folders:
        rendered[folder] = build(folder)
        for thing in rendered[folder]:
            # Those of others are held against the schemas of others.
            group = thing["apiVersion"].rpartition("/")[0]
            if "." in group and not group.endswith(".k8s.io") or group == "gateway.networking.k8s.io":
                continue
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(thing, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    place = ".".join(str(step) for step in error.path)
                    faults.append(f"{folder} {thing['kind']} {version} {place}: {error.message}")
    if faults:
        raise SystemExit("\n".join(faults))
    json.dump(rendered, sys.stdout)


main(sys.argv[1:])
