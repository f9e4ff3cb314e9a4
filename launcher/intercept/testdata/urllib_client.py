import errno, urllib.error, urllib.request

print(urllib.request.urlopen("http://web.shop/x", timeout=30).read().decode())
for host in "gone", "far":
    try:
        urllib.request.urlopen("http://%s.shop/x" % host, timeout=30)
    except urllib.error.URLError as e:
        print(errno.errorcode[e.reason.errno])
