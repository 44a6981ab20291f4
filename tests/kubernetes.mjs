// Holds objects of other projects (from standard input, as JSON) against the schemas of their custom resource definitions,
// which the packages @kubernetes-models/* carry. Prints how many; says what is wrong with them.

import { readFileSync } from 'node:fs';
import { HTTPRoute } from '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute';
import { ReferenceGrant } from '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1beta1/ReferenceGrant';
import { validate as validateExternalAuth } from '@kubernetes-models/gateway-api/_schemas/IoK8sSigsGatewayApiApisV1HTTPExternalAuthFilter';
import { SecurityPolicy } from '@kubernetes-models/envoy-gateway/gateway.envoyproxy.io/v1alpha1/SecurityPolicy';
import { ServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor';
import { IngressRoute } from '@kubernetes-models/traefik/traefik.io/v1alpha1/IngressRoute';
import { Middleware } from '@kubernetes-models/traefik/traefik.io/v1alpha1/Middleware';

const known = [HTTPRoute, ReferenceGrant, SecurityPolicy, ServiceMonitor, IngressRoute, Middleware];
const things = JSON.parse(readFileSync(0, 'utf8'));
for (const thing of things) {
  const Kind = known.find((one) => one.apiVersion === thing.apiVersion && one.kind === thing.kind);
  if (!Kind) throw new Error(`nothing is known of ${thing.apiVersion} ${thing.kind}`);
  for (const rule of (Kind === HTTPRoute && thing.spec.rules) || []) {
    // The package knows what the filter looks like, but not in a route: it has the routes of the standard channel only.
    const asks = (filter) => filter.type === 'ExternalAuth';
    for (const { externalAuth } of (rule.filters ?? []).filter(asks)) {
      if (!validateExternalAuth(externalAuth)) throw new Error(JSON.stringify(validateExternalAuth.errors));
    }
    rule.filters = rule.filters?.filter((filter) => !asks(filter));
  }
  new Kind(thing).validate();
}
console.log(things.length);
