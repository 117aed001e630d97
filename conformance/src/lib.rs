//! What any picolet must show to a real kube-apiserver.
