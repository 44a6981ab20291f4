"""Renders the overlays that are named with kustomize's own code, and charts with Helm's, holds what is of Kubernetes itself
against its schemas, and prints everything as JSON: {overlay: [object, …]}. A chart's values may follow it, as JSON: CHART#{…}.

kustomize comes as a library in the package pykustomize, whose Python wants a newer Python than most have: only the library is
used. Helm comes in the package helm-python-sdk, and the schemas in kubernetes-validate.
"""

import ctypes
import json
import pathlib
import sys
import sysconfig

import helm_python
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


def helm(folder, values):
    # An icon is for shops.
    told = [one for one in helm_python.lint(folder)["messages"] if "icon" not in one["error"]]
    if told:
        raise SystemExit(f"{folder}: {told}")
    with helm_python.Chart.load(folder) as chart:
        try:
            files = chart.render(json.loads(values or "{}"), name="drawbridge", namespace="drawbridge")
        except helm_python.HelmValuesError as error:
            raise SystemExit(f"{folder}: {error}")
    things = [thing for text in files.values() for thing in yaml.safe_load_all(text)]
    return [thing for thing in things if thing]


def main(folders):
    build = kustomize()
    rendered, faults = {}, []
    for folder in folders:
        place, _, values = folder.partition("#")
        is_chart = pathlib.Path(place, "Chart.yaml").exists()
        rendered[folder] = helm(place, values) if is_chart else build(folder)
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
