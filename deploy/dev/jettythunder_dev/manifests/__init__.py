"""`make manifests`: the Kubernetes manifests as they would be applied, against schemas and rules of ours."""
