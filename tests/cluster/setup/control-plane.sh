# etcd, the control plane and the node, all of them processes of this machine.

PAUSE=k8s.gcr.io/pause:3.2
NODE=node1
API=https://127.0.0.1:6443
ETCD=http://127.0.0.1:12379
DAEMONS=(proxy kubelet scheduler controller-manager apiserver etcd)

control_plane() {
  NODE_IP=$(ip -4 -o addr show docker0 | awk '{ split($4, address, "/"); print address[1] }')
  [ -n "$NODE_IP" ] || die "the Docker Engine has no network docker0, on which the node would live"
  # etcd runs without fsync: what a crash or a restart of the machine left of its data is not to be trusted
  if [ -n "$ENGINE_STARTED" ] || ! alive etcd || ! certificates_fit; then
    forget_cluster
    say "starting Kubernetes"
    certificates
  fi
  start_daemons
  await kubelet node_is_ready
}

certificates_fit() {
  [ -f "$KUBECONFIG" ] && openssl x509 -in "$RUN/pki/apiserver.crt" -noout -checkip "$NODE_IP" 2>/dev/null | grep -q 'does match'
}

start_daemons() {
  local pki=$RUN/pki
  # which machine this is: the kubelet reports it, and a minimal system may not have been given an identity yet
  [ -s /etc/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
  start etcd etcd --data-dir "$RUN/etcd" --unsafe-no-fsync --listen-client-urls $ETCD --advertise-client-urls $ETCD \
    --listen-peer-urls http://127.0.0.1:12380
  start apiserver "$BIN/kube-apiserver" --etcd-servers=$ETCD --secure-port="${API##*:}" --advertise-address="$NODE_IP" \
    --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=RBAC --allow-privileged=true \
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" \
    --kubelet-preferred-address-types=InternalIP \
    --feature-gates=TTLAfterFinished=true   # as by default since 1.21: finished Jobs go by themselves
  await apiserver ask /readyz -o /dev/null
  start controller-manager "$BIN/kube-controller-manager" --kubeconfig="$KUBECONFIG" --leader-elect=false --use-service-account-credentials \
    --feature-gates=TTLAfterFinished=true \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
  start scheduler "$BIN/kube-scheduler" --kubeconfig="$KUBECONFIG" --leader-elect=false
  start kubelet "$BIN/kubelet" --config="$RUN/kubelet.yaml" --kubeconfig="$KUBECONFIG" --hostname-override=$NODE --node-ip="$NODE_IP" \
    --pod-infra-container-image="$PAUSE" --network-plugin=
  start proxy "$BIN/kube-proxy" --kubeconfig="$KUBECONFIG" --hostname-override=$NODE --cluster-cidr=172.17.0.0/16 --proxy-mode=iptables \
    --conntrack-max-per-core=0
}

# ask PATH [curl's options]: as the cluster's admin
ask() {
  curl -sf --cacert "$RUN/pki/ca.crt" --cert "$RUN/pki/admin.crt" --key "$RUN/pki/admin.key" "${@:2}" "$API$1" 2>/dev/null
}

# ... and pods can be created: they need their namespace's service account
node_is_ready() {
  ask /api/v1/nodes/$NODE | tr -d ' \n' | grep -q '"type":"Ready","status":"True"' &&
    ask /api/v1/namespaces/default/serviceaccounts/default | grep -q '"secrets"'
}

certificates() {
  local pki=$RUN/pki; mkdir -p "$pki"
  quietly certificates openssl req -x509 -newkey rsa:2048 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" -days 3650 -subj /CN=kubernetes-ca
  quietly certificates openssl genrsa -out "$pki/sa.key" 2048
  quietly certificates openssl rsa -in "$pki/sa.key" -pubout -out "$pki/sa.pub"
  certificate apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$NODE_IP,IP:10.96.0.1"
  certificate admin /O=system:masters/CN=admin DNS:admin
  certificate kubelet /O=system:nodes/CN=system:node:$NODE "DNS:$NODE,IP:127.0.0.1,IP:$NODE_IP"
  cat >"$KUBECONFIG" <<-END
	apiVersion: v1
	kind: Config
	clusters: [{name: devloop-test, cluster: {server: "$API", certificate-authority: $pki/ca.crt}}]
	users: [{name: admin, user: {client-certificate: $pki/admin.crt, client-key: $pki/admin.key}}]
	contexts: [{name: devloop-test, context: {cluster: devloop-test, user: admin}}]
	current-context: devloop-test
	END
  cat >"$RUN/kubelet.yaml" <<-END
	kind: KubeletConfiguration
	apiVersion: kubelet.config.k8s.io/v1beta1
	authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $pki/ca.crt}}
	authorization: {mode: AlwaysAllow}
	cgroupDriver: $(engine_api /info | grep -o '"CgroupDriver":"[a-z]*"' | cut -d'"' -f4)
	clusterDomain: cluster.local
	failSwapOn: false
	nodeStatusUpdateFrequency: 1s
	tlsCertFile: $pki/kubelet.crt
	tlsPrivateKeyFile: $pki/kubelet.key
	evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
	imageGCHighThresholdPercent: 100
	# as since Kubernetes 1.27: by fewer, what many pods tell comes late, or not at all
	eventRecordQPS: 50
	eventBurst: 100
	kubeAPIQPS: 50
	kubeAPIBurst: 100
	END
}

# certificate NAME SUBJECT ALTERNATIVE_NAMES
certificate() {
  local file=$RUN/pki/$1 ca=$RUN/pki/ca
  echo "subjectAltName=$3" >"$file.ext"
  quietly certificates openssl req -newkey rsa:2048 -nodes -keyout "$file.key" -out "$file.csr" -subj "$2"
  quietly certificates openssl x509 -req -in "$file.csr" -CA "$ca.crt" -CAkey "$ca.key" -CAcreateserial -days 3650 -out "$file.crt" \
    -extfile "$file.ext"
}

# Ends what runs of the cluster and forgets all that was in it.
forget_cluster() {
  local daemon
  for daemon in "${DAEMONS[@]}"; do stop "$daemon"; done
  if engine_answers; then
    engine_api /containers/json --url-query all=1 --url-query 'filters={"label":["io.kubernetes.pod.name"]}' |
      { grep -o '"Id":"[0-9a-f]*"' || true; } | cut -d'"' -f4 |
      while read -r container; do engine_api "/containers/$container?force=1&v=1" -X DELETE -o /dev/null || true; done
  fi
  [ ! -x "$BIN/kube-proxy" ] || "$BIN/kube-proxy" --cleanup >"$RUN/log/proxy-cleanup.log" 2>&1 9>&- || true   # its iptables rules
  { grep -o '/var/lib/kubelet/pods[^ ]*' /proc/mounts || true; } | sort -r | xargs -r umount
  rm -rf "$RUN/etcd" "$RUN/pki" "$KUBECONFIG" /var/lib/kubelet/pods
  for daemon in "${DAEMONS[@]}"; do rm -f "$RUN/$daemon.pid"; done
}
