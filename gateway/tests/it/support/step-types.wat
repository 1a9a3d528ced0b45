;; `sluice:step/types`, as every step imports it: put into components by the tests.
  (import "sluice:step/types@0.1.0" (instance $types
    (type $error' (record (field "path" string) (field "code" string) (field "message" string)))
    (export "validation-error" (type $error (eq $error')))
    (type $completed' (record (field "output" string) (field "next" (option (list string)))))
    (export "completed" (type $completed (eq $completed')))
    (type $failure' (record (field "code" string) (field "message" string) (field "retryable" bool)
      (field "retry-after-ms" (option u32)) (field "details" (option string))))
    (export "failure" (type $failure (eq $failure')))
    (type $outcome' (variant (case "completed" $completed) (case "invalid" (list $error)) (case "failed" $failure)))
    (export "outcome" (type $outcome (eq $outcome')))))
  (alias export $types "outcome" (type $outcome'))
  (import "outcome" (type $outcome (eq $outcome')))
