// Package service assembles the two services from a configuration: what the
// listener's and the worker's commands run, and what the dev command runs in
// one process. It wires; it decides nothing.
//
// Each service has three steps: New opens what it needs and takes its ports,
// Run serves until the context ends and then stops in good order, and Ready
// says what is missing. A stop loses nothing that was acknowledged: the
// listener finishes the deliveries it has begun, the worker settles or gives
// back its changes and gives back its leases.
//
// Both serve on their admin address:
//
//	GET /livez    200 while the process serves
//	GET /readyz   200 if every check passes, else 503, with each check by name
//	GET /metrics  Prometheus
package service
