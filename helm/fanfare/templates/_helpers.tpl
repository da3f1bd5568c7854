{{/* Names. */}}
{{- define "fanfare.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "fanfare.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fanfare.broker" -}}
{{ include "fanfare.fullname" . }}-broker
{{- end }}

{{- define "fanfare.brokerHeadless" -}}
{{ include "fanfare.fullname" . }}-broker-peers
{{- end }}

{{- define "fanfare.secretName" -}}
{{ default (include "fanfare.fullname" .) .Values.existingSecret }}
{{- end }}

{{- define "fanfare.brokerAuthSecret" -}}
{{ default (printf "%s-auth" (include "fanfare.broker" .)) .Values.broker.auth.existingSecret }}
{{- end }}

{{- define "fanfare.brokerTLSSecret" -}}
{{ default (printf "%s-tls" (include "fanfare.broker" .)) .Values.broker.tls.existingSecret }}
{{- end }}

{{- define "fanfare.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "fanfare.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "fanfare.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion (toString .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Labels. Called with (dict "root" $ "component" "gateway"). */}}
{{- define "fanfare.selectorLabels" -}}
app.kubernetes.io/name: {{ include "fanfare.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "fanfare.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "fanfare.selectorLabels" . }}
app.kubernetes.io/version: {{ default .root.Chart.AppVersion (toString .root.Values.image.tag) | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: fanfare
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of pods: none that changes with the version, or every new chart would restart the brokers. */}}
{{- define "fanfare.podLabels" -}}
{{ include "fanfare.selectorLabels" . }}
app.kubernetes.io/part-of: fanfare
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata of an object: (dict "root" $ "component" … "name" … "annotations" … "labels" …). */}}
{{- define "fanfare.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "fanfare.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Seconds of a duration such as 1m30s, rounded up. */}}
{{- define "fanfare.seconds" -}}
{{- $total := 0.0 }}
{{- range regexFindAll "[0-9.]+(ms|us|µs|ns|s|m|h)" (toString .) -1 }}
{{- $number := regexFind "^[0-9.]+" . | float64 }}
{{- $unit := regexReplaceAll "^[0-9.]+" . "" }}
{{- $total = addf $total (mulf $number (get (dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 "us" 0.000001 "µs" 0.000001 "ns" 0.000000001) $unit)) }}
{{- end }}
{{- ceil $total | int }}
{{- end }}

{{/* Bytes of a quantity such as 10Gi, as a whole number. */}}
{{- define "fanfare.bytes" -}}
{{- $text := toString . }}
{{- $number := regexFind "^[0-9.]+" $text | float64 }}
{{- $unit := regexReplaceAll "^[0-9.]+" $text "" }}
{{- $factors := dict "" 1.0 "k" 1000.0 "M" 1000000.0 "G" 1000000000.0 "T" 1000000000000.0 "P" 1000000000000000.0 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 }}
{{- if not (hasKey $factors $unit) }}
{{- fail (printf "%q is not a quantity such as 10Gi or 512Mi" $text) }}
{{- end }}
{{- mulf $number (get $factors $unit) | int64 }}
{{- end }}

{{/* Nine tenths of a quantity, in bytes. */}}
{{- define "fanfare.mostOf" -}}
{{- div (mul (include "fanfare.bytes" . | int64) 9) 10 }}
{{- end }}

{{/* A probe without its handler. */}}
{{- define "fanfare.probe" -}}
httpGet:
  path: {{ .path }}
  port: metrics
{{ toYaml (omit .probe "httpGet" "exec" "tcpSocket" "grpc") }}
{{- end }}

{{/* GOMEMLIMIT, when there is a limit of memory. */}}
{{- define "fanfare.memoryLimit" -}}
{{- with (default dict .limits).memory }}
- name: GOMEMLIMIT
  value: {{ include "fanfare.mostOf" . | quote }}
{{- end }}
{{- end }}

{{- define "fanfare.drain" -}}
{{ default "30s" (toString (default "" .Values.config.drain)) }}
{{- end }}

{{/*
Secrets that config may hold: their place there, and the key in the Secret and the variable they become. Those with a
value of their own come first.
*/}}
{{- define "fanfare.configSecrets" -}}
- {path: [auth, jwe_key], key: jweKey, env: FANFARE_AUTH_JWE_KEY}
- {path: [nats, password], key: natsPassword, env: FANFARE_NATS_PASSWORD}
{{- end }}

{{/*
What is made up or taken from the cluster, once for a rendering: kept in .Values, so that every template sees the same.
*/}}
{{- define "fanfare.prepare" -}}
{{- include "fanfare.validate" . }}
{{- if not (hasKey .Values "_made") }}
{{- $made := dict }}
{{- $config := default dict .Values.config }}
{{- $auth := default dict $config.auth }}

{{- /* The Secret of the gateways. */}}
{{- $old := dict }}
{{- if not .Values.existingSecret }}
{{- $old = default dict (lookup "v1" "Secret" .Release.Namespace (include "fanfare.secretName" .)).data }}
{{- $data := dict }}
{{- $apiKeys := .Values.apiKeys }}
{{- if kindIs "slice" $apiKeys }}{{ $apiKeys = join "," $apiKeys }}{{ end }}
{{- $configKeys := default "" $config.api_keys }}
{{- if kindIs "slice" $configKeys }}{{ $configKeys = join "," $configKeys }}{{ end }}
{{- range list (list "adminToken" (coalesce .Values.adminToken $config.admin_token)) (list "apiKeys" (coalesce $apiKeys $configKeys)) (list "jwtSecret" (coalesce .Values.jwtSecret $auth.jwt_secret)) }}
{{- $key := index . 0 }}
{{- $given := index . 1 }}
{{- if $given }}
{{- $_ := set $data $key (toString $given) }}
{{- else if hasKey $old $key }}
{{- $_ := set $data $key (get $old $key | b64dec) }}
{{- else }}
{{- $_ := set $data $key (randAlphaNum 40) }}
{{- end }}
{{- end }}
{{- $_ := set $made "secret" $data }}
{{- else }}
{{- /* Its contents are looked at, so that a change rolls the gateways with the next upgrade. */}}
{{- $_ := set $made "existing" (default dict (lookup "v1" "Secret" .Release.Namespace .Values.existingSecret).data) }}
{{- end }}
{{- $extra := dict }}
{{- range (include "fanfare.configSecrets" . | fromYamlArray) }}
{{- $at := $config }}
{{- range .path }}{{ if kindIs "map" $at }}{{ $at = get $at . }}{{ else }}{{ $at = "" }}{{ end }}{{ end }}
{{- if $at }}{{ $_ := set $extra .key (toString $at) }}{{ end }}
{{- end }}
{{- $_ := set $made "extra" $extra }}

{{- /* Passwords of the brokers. */}}
{{- if and .Values.broker.enabled .Values.broker.auth.enabled }}
{{- if .Values.broker.auth.existingSecret }}
{{- $_ := set $made "brokerAuthExisting" (default dict (lookup "v1" "Secret" .Release.Namespace .Values.broker.auth.existingSecret).data) }}
{{- else }}
{{- $old := default dict (lookup "v1" "Secret" .Release.Namespace (include "fanfare.brokerAuthSecret" .)).data }}
{{- $passwords := .Values.broker.auth.passwords }}
{{- if not $passwords }}{{ $passwords = ternary (get $old "passwords" | b64dec | splitList ",") (list (randAlphaNum 40)) (hasKey $old "passwords") }}{{ end }}
{{- $cluster := .Values.broker.auth.clusterPasswords }}
{{- if not $cluster }}{{ $cluster = ternary (get $old "clusterPasswords" | b64dec | splitList ",") (list (randAlphaNum 40)) (hasKey $old "clusterPasswords") }}{{ end }}
{{- $_ := set $made "brokerAuth" (dict "password" (first $passwords) "passwords" (join "," $passwords) "clusterPasswords" (join "," $cluster)) }}
{{- end }}
{{- end }}

{{- /* Certificates of the brokers. */}}
{{- if and .Values.broker.enabled .Values.broker.tls.enabled (not .Values.broker.tls.existingSecret) (not .Values.broker.tls.certManager.enabled) }}
{{- $old := default dict (lookup "v1" "Secret" .Release.Namespace (include "fanfare.brokerTLSSecret" .)).data }}
{{- if and (hasKey $old "tls.crt") (hasKey $old "tls.key") (hasKey $old "ca.crt") }}
{{- $_ := set $made "brokerTLS" (dict "tls.crt" (get $old "tls.crt" | b64dec) "tls.key" (get $old "tls.key" | b64dec) "ca.crt" (get $old "ca.crt" | b64dec)) }}
{{- else }}
{{- $days := int .Values.broker.tls.validityDays }}
{{- $ca := genCAWithKey (printf "%s CA" (include "fanfare.broker" .)) $days (genPrivateKey "ecdsa") }}
{{- $cert := genSignedCertWithKey (include "fanfare.broker" .) (list "127.0.0.1") (include "fanfare.brokerNames" . | fromYamlArray) $days $ca (genPrivateKey "ecdsa") }}
{{- $_ := set $made "brokerTLS" (dict "tls.crt" $cert.Cert "tls.key" $cert.Key "ca.crt" $ca.Cert) }}
{{- end }}
{{- end }}
{{- $_ := set .Values "_made" $made }}
{{- end }}
{{- end }}

{{/* The names that brokers are reached by. */}}
{{- define "fanfare.brokerNames" -}}
{{- $ns := .Release.Namespace }}
{{- range list (include "fanfare.broker" .) (printf "*.%s" (include "fanfare.brokerHeadless" .)) }}
- {{ . | quote }}
- {{ printf "%s.%s" . $ns | quote }}
- {{ printf "%s.%s.svc" . $ns | quote }}
- {{ printf "%s.%s.svc.cluster.local" . $ns | quote }}
{{- end }}
- localhost
{{- end }}

{{/* Where the gateways find the brokers. */}}
{{- define "fanfare.natsURLs" -}}
{{- if .Values.broker.enabled }}
{{- $root := . }}
{{- range until (int .Values.broker.replicaCount) }}
- {{ ternary "tls" "nats" $root.Values.broker.tls.enabled }}://{{ include "fanfare.broker" $root }}-{{ . }}.{{ include "fanfare.brokerHeadless" $root }}:4222
{{- end }}
{{- else }}
{{- $urls := coalesce .Values.nats.urls (dig "nats" "urls" "" .Values.config) }}
{{- if not (kindIs "slice" $urls) }}{{ $urls = splitList "," $urls }}{{ end }}
{{- toYaml $urls }}
{{- end }}
{{- end }}

{{/* The gateways' configuration file: ours, and .Values.config over it, without secrets. */}}
{{- define "fanfare.config" -}}
{{- $nats := dict "urls" (include "fanfare.natsURLs" . | fromYamlArray) "replicas" (ternary (min 3 (int .Values.broker.replicaCount)) (int .Values.nats.replicas) .Values.broker.enabled) }}
{{- if .Values.broker.enabled }}
{{- if .Values.broker.tls.enabled }}
{{- $tls := dict "ca" "/etc/fanfare/broker/ca.crt" }}
{{- if .Values.broker.tls.verifyGateways }}{{ $tls = merge $tls (dict "cert" "/etc/fanfare/broker/tls.crt" "key" "/etc/fanfare/broker/tls.key") }}{{ end }}
{{- $_ := set $nats "tls" $tls }}
{{- end }}
{{- else }}
{{- with .Values.nats.credentialsSecret }}{{ $_ := set $nats "creds" "/etc/fanfare/nats/credentials" }}{{ end }}
{{- with .Values.nats.user }}{{ $_ := set $nats "user" . }}{{ end }}
{{- with .Values.nats.tlsSecret }}{{ $_ := set $nats "tls" (dict "ca" "/etc/fanfare/broker/ca.crt") }}{{ end }}
{{- end }}
{{- $config := dict "listen" ":8000" "ops_listen" ":8001" "drain" (include "fanfare.drain" .) "nats" $nats "log" (dict "format" "json") }}
{{- if .Values.settings }}{{ $_ := set $config "settings_file" "/etc/fanfare/settings/settings.yaml" }}{{ end }}
{{- if .Values.tls.secretName }}{{ $_ := set $config "tls" (dict "cert" "/etc/fanfare/tls/tls.crt" "key" "/etc/fanfare/tls/tls.key") }}{{ end }}
{{- $given := deepCopy .Values.config }}
{{- $given = omit $given "admin_token" "api_keys" }}
{{- if hasKey $given "auth" }}{{ $_ := set $given "auth" (omit $given.auth "jwt_secret" "jwe_key") }}{{ end }}
{{- if hasKey $given "nats" }}{{ $_ := set $given "nats" (omit $given.nats "password") }}{{ end }}
{{- toYaml (mergeOverwrite $config $given) }}
{{- end }}

{{/* The brokers' configuration file. */}}
{{- define "fanfare.brokerConfig" -}}
{{- $root := . }}
{{- $b := dict "listen" ":4222" "store_limit" (include "fanfare.mostOf" .Values.broker.persistence.size | int64) }}
{{- if gt (int .Values.broker.replicaCount) 1 }}
{{- $routes := list }}
{{- range until (int .Values.broker.replicaCount) }}
{{- $routes = append $routes (printf "nats://%s-%d.%s:6222" (include "fanfare.broker" $root) . (include "fanfare.brokerHeadless" $root)) }}
{{- end }}
{{- $b = merge $b (dict "cluster_listen" ":6222" "cluster_name" (include "fanfare.fullname" .) "routes" $routes) }}
{{- end }}
{{- if .Values.broker.tls.enabled }}
{{- $_ := set $b "tls" (dict "cert" "/etc/fanfare/broker/tls.crt" "key" "/etc/fanfare/broker/tls.key" "ca" "/etc/fanfare/broker/ca.crt" "verify" .Values.broker.tls.verifyGateways) }}
{{- end }}
{{- with (dig "broker" "sync" "" .Values.config) }}{{ $_ := set $b "sync" . }}{{ end }}
{{- $config := dict "data_dir" "/data" "ops_listen" ":8001" "drain" .Values.broker.drain "broker" $b "log" (merge (dict) (default dict .Values.config.log) (dict "format" "json")) }}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.broker.config)) }}
{{- end }}

{{/* Mistakes that a schema cannot see. */}}
{{- define "fanfare.validate" -}}
{{- $v := .Values }}
{{- $wrong := list }}
{{- if and (not $v.broker.enabled) (not $v.nats.urls) (not (dig "nats" "urls" "" $v.config)) }}
{{- $wrong = append $wrong "broker.enabled is false and nats.urls is empty: gateways need a broker" }}
{{- end }}
{{- if and $v.broker.enabled $v.nats.urls }}
{{- $wrong = append $wrong "nats.urls is set and broker.enabled is true: choose one of them (set broker.enabled=false to use your NATS)" }}
{{- end }}
{{- if and $v.existingSecret (or $v.adminToken $v.apiKeys $v.jwtSecret) }}
{{- $wrong = append $wrong "existingSecret and adminToken, apiKeys or jwtSecret are set: the Secret holds all three, choose one way" }}
{{- end }}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- $wrong = append $wrong (printf "autoscaling.minReplicas (%d) is more than autoscaling.maxReplicas (%d)" (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- end }}
{{- if and $v.autoscaling.enabled (not $v.autoscaling.targetCPUUtilizationPercentage) (not $v.autoscaling.targetSessionsPerPod) (not $v.autoscaling.metrics) }}
{{- $wrong = append $wrong "autoscaling is enabled without a target: set autoscaling.targetCPUUtilizationPercentage, targetSessionsPerPod or metrics" }}
{{- end }}
{{- if and $v.broker.tls.certManager.enabled (not $v.broker.tls.certManager.issuerRef.name) }}
{{- $wrong = append $wrong "broker.tls.certManager is enabled without issuerRef.name" }}
{{- end }}
{{- if and $v.xanoUpstream.enabled (not $v.xanoUpstream.host) }}
{{- $wrong = append $wrong "xanoUpstream is enabled without a host" }}
{{- end }}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) }}
{{- $wrong = append $wrong "httpRoute is enabled without parentRefs: name the Gateway" }}
{{- end }}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled }}
{{- $wrong = append $wrong "serviceMonitor and podMonitor are both enabled: everything would be scraped twice" }}
{{- end }}
{{- if lt (int (include "fanfare.seconds" $v.broker.drain)) 30 }}
{{- $wrong = append $wrong (printf "broker.drain is %s: at least 30s are needed to send the gateways away gently" $v.broker.drain) }}
{{- end }}
{{- range $key, $port := dict "listen" ":8000" "ops_listen" ":8001" }}
{{- with get $v.config $key }}
{{- if not (hasSuffix $port .) }}
{{- $wrong = append $wrong (printf "config.%s is %s: inside the pod the port is %s; service.port is what others see" $key . (trimPrefix ":" $port)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $v.settings (hasKey $v.config "settings_file") }}
{{- $wrong = append $wrong "settings and config.settings_file are both set: choose one" }}
{{- end }}
{{- if $v.broker.enabled }}
{{- $live := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "fanfare.broker" .) }}
{{- range (dig "spec" "volumeClaimTemplates" list $live) }}
{{- $has := .spec.resources.requests.storage }}
{{- if and (eq .metadata.name "data") (ne $has $v.broker.persistence.size) }}
{{- $wrong = append $wrong (printf "broker.persistence.size is %s in the cluster and cannot be changed in place: docs/operations/upgrade.md says how the volumes grow" $has) }}
{{- end }}
{{- end }}
{{- with (lookup "v1" "ConfigMap" .Release.Namespace (include "fanfare.broker" .)).data }}
{{- $clustered := contains "cluster_listen:" (get . "fanfare.yaml") }}
{{- if and $clustered (eq (int $v.broker.replicaCount) 1) }}
{{- $wrong = append $wrong "broker.replicaCount is more than 1 in the cluster: a single broker could not read what they stored together" }}
{{- else if and (not $clustered) (gt (int $v.broker.replicaCount) 1) }}
{{- $wrong = append $wrong "broker.replicaCount is 1 in the cluster and cannot be raised in place: docs/operations/kubernetes.md, from one node to a cluster" }}
{{- end }}
{{- end }}
{{- end }}
{{- if $wrong }}
{{- fail (printf "\n\n  - %s\n" (join "\n  - " $wrong)) }}
{{- end }}
{{- end }}
