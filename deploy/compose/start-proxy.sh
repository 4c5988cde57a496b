#!/bin/sh
# nginx with deploy/nginx/slm-studio.conf: the addresses of compose.yaml, STUDIO_HOST, and the certificate.
set -eu
for file in studio.pem studio.key; do
    [ -r "/certificates/$file" ] || { echo "$file is missing in the folder STUDIO_CERTIFICATES" >&2; exit 78; }
done
sed -e "s/127\.0\.0\.1:8000/172.28.97.11:8000/; s/127\.0\.0\.1:8001/172.28.97.12:8001/" \
    -e "s/studio\.example\.com/$STUDIO_HOST/" -e "s|/etc/ssl/studio|/certificates/studio|" \
    /slm-studio.conf > /etc/nginx/conf.d/default.conf
exec nginx -g "daemon off;"
