{{- define "tidings.name" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "tidings.selector" -}}
app.kubernetes.io/name: tidings
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tidings.labels" -}}
{{ include "tidings.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Nodes without a common log are as many logs, and their clients hear a part each. */ -}}
{{- define "tidings.check" -}}
{{- if and (not .Values.log.existingSecret) (or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled) -}}
{{- fail "Several nodes need a log that they share: put its URL into a Secret and name it in log.existingSecret, or set replicas=1." -}}
{{- end -}}
{{- end }}
