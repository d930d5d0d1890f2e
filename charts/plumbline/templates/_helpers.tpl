{{- define "plumbline.name" -}}
{{ .Values.fullnameOverride }}
{{- end }}

{{- define "plumbline.serviceAccountName" -}}
{{ include "plumbline.name" . }}
{{- end }}

{{- define "plumbline.labels" -}}
app.kubernetes.io/name: plumbline
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "plumbline.selector" -}}
app.kubernetes.io/name: plumbline
app.kubernetes.io/component: daemon
{{- end }}

{{- define "plumbline.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* Name of the ConfigMap that holds network.yaml. */ -}}
{{- define "plumbline.configMap" -}}
{{- if or .Values.config.file .Values.config.network -}}
{{ include "plumbline.name" . }}-network
{{- else -}}
{{ .Values.config.existing }}
{{- end -}}
{{- end }}

{{- /* What daemon, test and clean-up have in common: the node's own namespaces, and nothing that needs more than it is given. */ -}}
{{- define "plumbline.pod" -}}
hostNetwork: true
dnsPolicy: Default
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  seccompProfile: {{ toJson .Values.seccompProfile }}
{{- end }}

{{- define "plumbline.container" -}}
image: {{ include "plumbline.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "plumbline.nodeEnv" -}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
{{- end }}

{{- define "plumbline.apiServers" -}}
{{- with .Values.cluster.apiServers -}}
- name: PLUMBLINE_API_SERVERS
  value: {{ join " " . | quote }}
{{- end }}
{{- end }}

{{- /* Settings of a container that changes nothing of the file system it runs in. `add` is a list of capabilities. */ -}}
{{- define "plumbline.securityContext" -}}
runAsUser: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  {{- with .add }}
  add: {{ toJson . }}
  {{- end }}
{{- end }}

{{- define "plumbline.capabilities" -}}
{{- $all := list "NET_ADMIN" "NET_RAW" -}}
{{- if .Values.features.services }}{{ $all = concat $all (list "BPF" "PERFMON") }}{{ end -}}
{{- if .Values.features.segments }}{{ $all = concat $all (list "SYS_ADMIN" "NET_BROADCAST") }}{{ end -}}
{{ toJson $all }}
{{- end }}

{{- define "plumbline.mounts" -}}
- {name: proc-sys-net, mountPath: /host/proc/sys/net}
- {name: tmp, mountPath: /tmp}
- {name: state, mountPath: /var/lib/plumbline}
{{- if .Values.features.cni }}
- {name: cni-conf, mountPath: {{ .Values.host.cniConfDir }}}
- {name: cni-bin, mountPath: {{ .Values.host.cniBinDir }}, readOnly: true}
{{- end }}
{{- if .Values.features.cniPlugin }}
- {name: run, mountPath: /run/plumbline}
{{- end }}
{{- if .Values.features.services }}
- {name: bpffs, mountPath: /sys/fs/bpf, mountPropagation: HostToContainer}
- {name: cgroup, mountPath: /sys/fs/cgroup, readOnly: true} # the host's root of all processes, not the container's own
{{- end }}
{{- if .Values.features.segments }}
- {name: netns, mountPath: /run/netns, mountPropagation: HostToContainer, readOnly: true}
- {name: runtime, mountPath: {{ if .Values.host.crioDir }}/run/containers/storage{{ else }}/run/containerd/io.containerd.runtime.v2.task/k8s.io{{ end }}, mountPropagation: HostToContainer, readOnly: true}
{{- end }}
{{- end }}

{{- /* What the daemon, and the clean-up in its place, may do to the node. */ -}}
{{- define "plumbline.privileges" -}}
securityContext:
  {{- include "plumbline.securityContext" (dict "add" (include "plumbline.capabilities" . | fromJsonArray)) | nindent 2 }}
  {{- with .Values.appArmorProfile }}
  appArmorProfile: {{ toJson . }}
  {{- end }}
volumeMounts:
  {{- include "plumbline.configMounts" . | nindent 2 }}
  {{- include "plumbline.mounts" . | nindent 2 }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* Puts the plugin's file into the node's folder, and can do nothing else. */ -}}
{{- define "plumbline.installCni" -}}
- name: install-cni
  {{- include "plumbline.container" . | nindent 2 }}
  args: [install-cni, --bin-dir=/host/opt/cni/bin]
  securityContext:
    {{- include "plumbline.securityContext" (dict "add" list) | nindent 4 }}
  volumeMounts:
    - {name: cni-bin, mountPath: /host/opt/cni/bin}
{{- end }}

{{- define "plumbline.procSys" -}}
- name: PLUMBLINE_PROC_SYS # a container's own /proc/sys is read-only, and runc mounts nothing over it
  value: /host/proc/sys
{{- end }}

{{- define "plumbline.volumes" -}}
- name: proc-sys-net
  hostPath: {path: /proc/sys/net, type: Directory}
- name: tmp
  emptyDir: {}
- name: state
  hostPath: {path: {{ .Values.host.stateDir }}, type: DirectoryOrCreate}
{{- if .Values.features.cni }}
- name: cni-conf
  hostPath: {path: {{ .Values.host.cniConfDir }}, type: DirectoryOrCreate}
- name: cni-bin
  hostPath: {path: {{ .Values.host.cniBinDir }}, type: DirectoryOrCreate}
{{- end }}
{{- if .Values.features.cniPlugin }}
- name: run
  hostPath: {path: /run/plumbline, type: DirectoryOrCreate}
{{- end }}
{{- if .Values.features.services }}
- name: bpffs
  hostPath: {path: /sys/fs/bpf, type: Directory}
- name: cgroup
  hostPath: {path: /sys/fs/cgroup, type: Directory}
{{- end }}
{{- if .Values.features.segments }}
- name: netns
  hostPath: {path: {{ .Values.host.netnsDir }}, type: DirectoryOrCreate}
- name: runtime
  {{- if .Values.host.crioDir }}
  hostPath: {path: {{ .Values.host.crioDir }}, type: Directory}
  {{- else }}
  hostPath: {path: {{ .Values.host.containerdDir }}, type: DirectoryOrCreate} # containerd makes it with the first pod since boot, which is this one
  {{- end }}
{{- end }}
{{- end }}

{{- define "plumbline.configVolumes" -}}
- name: config
  configMap:
    name: {{ include "plumbline.configMap" . }}
    optional: true # a node that boots while it is missing runs on what it last knew
{{- if .Values.facts.existing }}
- name: facts
  configMap: {name: {{ .Values.facts.existing }}, optional: true}
{{- end }}
{{- end }}

{{- define "plumbline.configMounts" -}}
- {name: config, mountPath: /etc/plumbline/config, readOnly: true}
{{- if .Values.facts.existing }}
- {name: facts, mountPath: /etc/plumbline/facts, readOnly: true}
{{- end }}
{{- end }}

{{- define "plumbline.probe" -}}
{path: {{ .path }}, port: {{ .root.Values.http.port }}{{ if eq .root.Values.http.listen "loopback" }}, host: 127.0.0.1{{ end }}}
{{- end }}
