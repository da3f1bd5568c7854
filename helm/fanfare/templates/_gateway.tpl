{{/* Environment, mounts and volumes that gateways and the test pod share. */}}
{{- define "fanfare.gatewayEnv" -}}
{{- $secret := include "fanfare.secretName" . }}
{{- $optional := not (not .Values.existingSecret) }}
- name: FANFARE_ADMIN_TOKEN
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ .Values.existingSecretKeys.adminToken }}}}
- name: FANFARE_API_KEYS
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ .Values.existingSecretKeys.apiKeys }}, optional: {{ $optional }}}}
- name: FANFARE_AUTH_JWT_SECRET
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ .Values.existingSecretKeys.jwtSecret }}, optional: {{ $optional }}}}
{{- if and .Values.broker.enabled .Values.broker.auth.enabled }}
- name: FANFARE_NATS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "fanfare.brokerAuthSecret" . }}, key: password}}
{{- else if and (not .Values.broker.enabled) .Values.nats.passwordSecret }}
- name: FANFARE_NATS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .Values.nats.passwordSecret }}, key: {{ .Values.nats.passwordKey }}}}
{{- end }}
{{- range (include "fanfare.configSecrets" . | fromYamlArray) }}
{{- if hasKey $.Values._made.extra .key }}
- name: {{ .env }}
  valueFrom: {secretKeyRef: {name: {{ include "fanfare.fullname" $ }}-config, key: {{ .key }}}}
{{- end }}
{{- end }}
{{- end }}

{{- define "fanfare.gatewayMounts" -}}
- {name: config, mountPath: /etc/fanfare/fanfare.yaml, subPath: fanfare.yaml, readOnly: true}
{{- if .Values.settings }}
- {name: settings, mountPath: /etc/fanfare/settings, readOnly: true}
{{- end }}
{{- if .Values.tls.secretName }}
- {name: tls, mountPath: /etc/fanfare/tls, readOnly: true}
{{- end }}
{{- if or (and .Values.broker.enabled .Values.broker.tls.enabled) (and (not .Values.broker.enabled) .Values.nats.tlsSecret) }}
- {name: broker-tls, mountPath: /etc/fanfare/broker, readOnly: true}
{{- end }}
{{- if and (not .Values.broker.enabled) .Values.nats.credentialsSecret }}
- {name: nats-credentials, mountPath: /etc/fanfare/nats, readOnly: true}
{{- end }}
{{- end }}

{{- define "fanfare.gatewayVolumes" -}}
- name: config
  configMap: {name: {{ include "fanfare.fullname" . }}}
{{- if .Values.settings }}
- name: settings
  secret: {secretName: {{ include "fanfare.fullname" . }}-settings}
{{- end }}
{{- with .Values.tls.secretName }}
- name: tls
  secret: {secretName: {{ . }}}
{{- end }}
{{- if and .Values.broker.enabled .Values.broker.tls.enabled }}
- name: broker-tls
  secret:
    secretName: {{ include "fanfare.brokerTLSSecret" . }}
    {{- if not .Values.broker.tls.verifyGateways }}
    items: [{key: ca.crt, path: ca.crt}] # not the brokers' key
    {{- end }}
{{- else if and (not .Values.broker.enabled) .Values.nats.tlsSecret }}
- name: broker-tls
  secret: {secretName: {{ .Values.nats.tlsSecret }}}
{{- end }}
{{- if and (not .Values.broker.enabled) .Values.nats.credentialsSecret }}
- name: nats-credentials
  secret:
    secretName: {{ .Values.nats.credentialsSecret }}
    items: [{key: {{ .Values.nats.credentialsKey }}, path: credentials}]
{{- end }}
{{- end }}

{{/* What a gateway was started with: another value rolls the gateways. */}}
{{- define "fanfare.gatewayChecksum" -}}
{{- $made := .Values._made }}
{{- $secrets := dict "own" (default dict $made.secret) "existing" (default dict $made.existing) "extra" $made.extra }}
{{- with $made.brokerAuth }}{{ $_ := set $secrets "password" .password }}{{ end }}
{{- with $made.brokerAuthExisting }}{{ $_ := set $secrets "password" .password }}{{ end }}
{{- with $made.brokerTLS }}{{ $_ := set $secrets "ca" (get . "ca.crt") }}{{ end }}
checksum/config: {{ include "fanfare.config" . | sha256sum }}
checksum/secrets: {{ toJson $secrets | sha256sum }}
{{- if .Values.settings }}
checksum/settings: {{ toJson .Values.settings | sha256sum }}
{{- end }}
{{- end }}

{{/* One step of helm test: (dict "root" $ "step" (dict "name" … "args" …)). */}}
{{- define "fanfare.testContainer" -}}
- name: {{ .step.name }}
  image: {{ include "fanfare.image" .root | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args: {{ toJson .step.args }}
  env:
    {{- include "fanfare.gatewayEnv" .root | trim | nindent 4 }}
    {{- with .root.Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 128Mi}
  securityContext:
    {{- toYaml .root.Values.securityContext | nindent 4 }}
  volumeMounts:
    {{- include "fanfare.gatewayMounts" .root | trim | nindent 4 }}
    {{- with .root.Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
